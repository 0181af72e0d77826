"""Symbols, argument types and numbers of the CUDA driver API, as cuda.h of CUDA 12 has them."""

from __future__ import annotations

import ctypes
import enum
from typing import Any

_POINTER = ctypes.c_void_p
_U64 = ctypes.c_uint64
_SIZE = ctypes.c_size_t
_INT = ctypes.c_int
_UINT = ctypes.c_uint
_TEXT = ctypes.c_char_p

# Argument types by C symbol, cuda.h of CUDA 12; the _v2 forms are the current 64-bit ones.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (_UINT,),
    "cuDriverGetVersion": (_POINTER,),
    "cuGetErrorName": (_INT, _POINTER),
    "cuDeviceGetCount": (_POINTER,),
    "cuDeviceGet": (_POINTER, _INT),
    "cuDeviceGetName": (_POINTER, _INT, _INT),
    "cuDeviceGetUuid_v2": (_POINTER, _INT),
    "cuDeviceGetUuid": (_POINTER, _INT),
    "cuDeviceGetPCIBusId": (_POINTER, _INT, _INT),
    "cuDeviceTotalMem_v2": (_POINTER, _INT),
    "cuDeviceGetAttribute": (_POINTER, _INT, _INT),
    "cuDevicePrimaryCtxRetain": (_POINTER, _INT),
    "cuDevicePrimaryCtxRelease_v2": (_INT,),
    "cuCtxSetCurrent": (_POINTER,),
    "cuCtxSynchronize": (),
    "cuMemGetInfo_v2": (_POINTER, _POINTER),
    "cuMemAlloc_v2": (_POINTER, _SIZE),
    "cuMemFree_v2": (_U64,),
    "cuMemcpyHtoD_v2": (_U64, _POINTER, _SIZE),
    "cuMemcpyDtoH_v2": (_POINTER, _U64, _SIZE),
    "cuMemsetD8_v2": (_U64, ctypes.c_ubyte, _SIZE),
    "cuMemHostAlloc": (_POINTER, _SIZE, _UINT),
    "cuMemFreeHost": (_POINTER,),
    "cuPointerGetAttribute": (_POINTER, _INT, _U64),
    "cuModuleLoadDataEx": (_POINTER, _POINTER, _UINT, _POINTER, _POINTER),
    "cuModuleUnload": (_POINTER,),
    "cuModuleGetFunction": (_POINTER, _POINTER, _TEXT),
    "cuLaunchKernel": (_POINTER, *(_UINT,) * 7, _POINTER, _POINTER, _POINTER),
    "cuEventCreate": (_POINTER, _UINT),
    "cuEventRecord": (_POINTER, _POINTER),
    "cuEventSynchronize": (_POINTER,),
    "cuEventElapsedTime": (_POINTER, _POINTER, _POINTER),
    "cuEventDestroy_v2": (_POINTER,),
    "cuDeviceCanAccessPeer": (_POINTER, _INT, _INT),
    "cuCtxEnablePeerAccess": (_POINTER, _UINT),
    "cuMemcpyPeerAsync": (_U64, _POINTER, _U64, _POINTER, _SIZE, _POINTER),
}


class DeviceAttribute(enum.IntEnum):
    """`CUdevice_attribute` numbers that are asked."""

    MAX_THREADS_PER_BLOCK = 1
    CLOCK_RATE_KHZ = 13
    MULTIPROCESSOR_COUNT = 16
    KERNEL_EXEC_TIMEOUT = 17
    INTEGRATED = 18
    COMPUTE_MODE = 20
    ECC_ENABLED = 32
    PCI_BUS_ID = 33
    PCI_DEVICE_ID = 34
    MEMORY_CLOCK_RATE_KHZ = 36
    MEMORY_BUS_WIDTH_BITS = 37
    L2_CACHE_BYTES = 38
    MAX_THREADS_PER_MULTIPROCESSOR = 39
    PCI_DOMAIN_ID = 50
    COMPUTE_CAPABILITY_MAJOR = 75
    COMPUTE_CAPABILITY_MINOR = 76
    MANAGED_MEMORY = 83
    SINGLE_TO_DOUBLE_RATIO = 87


class PointerAttribute(enum.IntEnum):
    """`CUpointer_attribute` numbers that are asked."""

    MEMORY_TYPE = 2
    IS_MANAGED = 8


MEMORY_TYPE_DEVICE = 2
"""`CU_MEMORYTYPE_DEVICE`: the bytes lie on the GPU."""
