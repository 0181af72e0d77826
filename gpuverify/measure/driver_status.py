"""What the CUDA driver's result codes mean and what to do next.

Codes and names: `CUresult` of the CUDA driver API,
https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
"""

from __future__ import annotations

import enum

from gpuverify.errors import GpuverifyError


class DriverStatus(enum.Enum):
    """Why a call of the CUDA driver did not do what it was asked."""

    NO_LIBRARY = "no-library"
    SYMBOL_MISSING = "symbol-missing"
    STUB_LIBRARY = "stub-library"
    NOT_INITIALISED = "not-initialised"
    NO_DEVICE = "no-device"
    BAD_DEVICE = "bad-device"
    UNAVAILABLE = "unavailable"
    NO_PERMISSION = "no-permission"
    NOT_SUPPORTED = "not-supported"
    NOT_READY = "not-ready"
    SYSTEM_NOT_READY = "system-not-ready"
    VERSION_MISMATCH = "version-mismatch"
    BAD_CALL = "bad-call"
    OUT_OF_MEMORY = "out-of-memory"
    JIT_COMPILER_MISSING = "jit-compiler-missing"
    PTX_TOO_NEW = "ptx-too-new"
    PTX_REFUSED = "ptx-refused"
    NOT_FOUND = "not-found"
    LAUNCH_REFUSED = "launch-refused"
    LAUNCH_TIMED_OUT = "launch-timed-out"
    MEMORY_ERROR = "memory-error"
    DEVICE_FAULT = "device-fault"
    CONTEXT_LOST = "context-lost"
    UNKNOWN = "unknown"

    @property
    def advice(self) -> str:
        """What to do next, one line."""
        return _ADVICE[self]

    @property
    def ends_device(self) -> bool:
        """Whether the context, and often the device, is gone for this process afterwards."""
        return self in _ENDS_DEVICE


_ADVICE = {
    DriverStatus.NO_LIBRARY: "install the NVIDIA driver (its compute part brings libcuda.so.1)",
    DriverStatus.SYMBOL_MISSING: "this driver is older than the call; update it",
    DriverStatus.STUB_LIBRARY: "libcuda is the toolkit's stub; put the driver's own library first",
    DriverStatus.NOT_INITIALISED: "the driver was not opened or is shutting down; run again",
    DriverStatus.NO_DEVICE: "the driver sees no GPU; check CUDA_VISIBLE_DEVICES and the module",
    DriverStatus.BAD_DEVICE: "no such GPU for CUDA; check CUDA_VISIBLE_DEVICES and MIG",
    DriverStatus.UNAVAILABLE: "the GPU is held exclusively or cannot be used; end its other users",
    DriverStatus.NO_PERMISSION: "run as a user who may open /dev/nvidia*",
    DriverStatus.NOT_SUPPORTED: "this GPU or driver does not offer the call",
    DriverStatus.NOT_READY: "work was still under way; run again",
    DriverStatus.SYSTEM_NOT_READY: "start nvidia-fabricmanager (NVSwitch machines need it)",
    DriverStatus.VERSION_MISMATCH: "library and kernel module differ; reload the module or reboot",
    DriverStatus.BAD_CALL: "the driver refused the arguments; report this with --evidence-out",
    DriverStatus.OUT_OF_MEMORY: "no memory left on the GPU; end the processes that use it",
    DriverStatus.JIT_COMPILER_MISSING: "install the driver's libnvidia-ptxjitcompiler",
    DriverStatus.PTX_TOO_NEW: "this driver is too old for the kernels; update it",
    DriverStatus.PTX_REFUSED: "the driver's compiler refused the kernels; report its version",
    DriverStatus.NOT_FOUND: "the driver does not know what was asked for by name",
    DriverStatus.LAUNCH_REFUSED: "the GPU refused the launch; report this with --evidence-out",
    DriverStatus.LAUNCH_TIMED_OUT: "the kernel timed out; stop the display server on this GPU",
    DriverStatus.MEMORY_ERROR: "uncorrectable memory or link error; look for Xid in the kernel log",
    DriverStatus.DEVICE_FAULT: "the GPU faulted; look for Xid in the kernel log, reset it",
    DriverStatus.CONTEXT_LOST: "the GPU's context is gone; look for Xid in the kernel log",
    DriverStatus.UNKNOWN: "the driver does not say why; look for Xid in the kernel log",
}

_ENDS_DEVICE = frozenset(
    {
        DriverStatus.UNAVAILABLE,
        DriverStatus.LAUNCH_TIMED_OUT,
        DriverStatus.MEMORY_ERROR,
        DriverStatus.DEVICE_FAULT,
        DriverStatus.CONTEXT_LOST,
        DriverStatus.UNKNOWN,
    }
)

_STATUS_BY_CODE = {
    1: DriverStatus.BAD_CALL,
    2: DriverStatus.OUT_OF_MEMORY,
    3: DriverStatus.NOT_INITIALISED,
    4: DriverStatus.NOT_INITIALISED,
    34: DriverStatus.STUB_LIBRARY,
    46: DriverStatus.UNAVAILABLE,
    100: DriverStatus.NO_DEVICE,
    101: DriverStatus.BAD_DEVICE,
    102: DriverStatus.NO_PERMISSION,
    200: DriverStatus.PTX_REFUSED,
    201: DriverStatus.CONTEXT_LOST,
    205: DriverStatus.BAD_CALL,
    209: DriverStatus.PTX_REFUSED,
    211: DriverStatus.BAD_CALL,
    214: DriverStatus.MEMORY_ERROR,
    215: DriverStatus.NOT_SUPPORTED,
    216: DriverStatus.UNAVAILABLE,
    217: DriverStatus.NOT_SUPPORTED,
    218: DriverStatus.PTX_REFUSED,
    220: DriverStatus.MEMORY_ERROR,
    221: DriverStatus.JIT_COMPILER_MISSING,
    222: DriverStatus.PTX_TOO_NEW,
    223: DriverStatus.JIT_COMPILER_MISSING,
    226: DriverStatus.MEMORY_ERROR,
    302: DriverStatus.NO_LIBRARY,
    303: DriverStatus.NO_LIBRARY,
    304: DriverStatus.NO_PERMISSION,
    400: DriverStatus.BAD_CALL,
    401: DriverStatus.BAD_CALL,
    500: DriverStatus.NOT_FOUND,
    600: DriverStatus.NOT_READY,
    700: DriverStatus.DEVICE_FAULT,
    701: DriverStatus.LAUNCH_REFUSED,
    702: DriverStatus.LAUNCH_TIMED_OUT,
    704: DriverStatus.BAD_CALL,
    705: DriverStatus.BAD_CALL,
    708: DriverStatus.BAD_CALL,
    709: DriverStatus.CONTEXT_LOST,
    710: DriverStatus.DEVICE_FAULT,
    712: DriverStatus.BAD_CALL,
    713: DriverStatus.BAD_CALL,
    714: DriverStatus.DEVICE_FAULT,
    715: DriverStatus.DEVICE_FAULT,
    716: DriverStatus.DEVICE_FAULT,
    717: DriverStatus.DEVICE_FAULT,
    718: DriverStatus.DEVICE_FAULT,
    719: DriverStatus.DEVICE_FAULT,
    800: DriverStatus.NO_PERMISSION,
    801: DriverStatus.NOT_SUPPORTED,
    802: DriverStatus.SYSTEM_NOT_READY,
    803: DriverStatus.VERSION_MISMATCH,
    804: DriverStatus.NOT_SUPPORTED,
    999: DriverStatus.UNKNOWN,
}

CODE_NOT_ASKED = -1
"""Stands for the result code where the driver was never reached."""


def status_of(code: int) -> DriverStatus:
    """Return the typed status of a result code; one that is not on file is `UNKNOWN`."""
    return _STATUS_BY_CODE.get(code, DriverStatus.UNKNOWN)


class DriverError(GpuverifyError):
    """A call of the CUDA driver failed.

    Attributes:
        status: Why, typed.
        code: The driver's own result code, `CODE_NOT_ASKED` where it was never reached.
        call: The C symbol.
        detail: What else is known: the driver's name of the code, the compiler's log.
    """

    exit_code = 69

    def __init__(self, status: DriverStatus, code: int, call: str, detail: str = "") -> None:
        """Keep the pieces; the text is one line with what to do next."""
        self.status = status
        self.code = code
        self.call = call
        self.detail = detail
        said = f" ({detail})" if detail else ""
        super().__init__(f"{call}: {status.value}, code {code}{said}: {status.advice}")


class DriverUnavailable(DriverError):  # noqa: N818 - a state of the machine, named so in the API
    """The CUDA driver cannot be used at all on this machine."""
