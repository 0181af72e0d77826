"""The emulated driver under NVIDIA's own bindings, where they are installed (cuda-bindings 12)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from gpuverify.testing.cuda import card

SCRIPT = """
import ctypes, sys
from cuda.bindings import driver
from gpuverify.measure.packs import pack_text
def ok(result):
    assert result[0] == driver.CUresult.CUDA_SUCCESS, result
    return result[1] if len(result) > 1 else None
ok(driver.cuInit(0))
device = ok(driver.cuDeviceGet(0))
print(ok(driver.cuDeviceGetName(64, device)).split(b"\\0")[0].decode())
ok(driver.cuCtxSetCurrent(ok(driver.cuDevicePrimaryCtxRetain(device))))
place = ok(driver.cuMemAlloc(1 << 20))
module = ok(driver.cuModuleLoadData(pack_text("base") + b"\\0"))
function = ok(driver.cuModuleGetFunction(module, b"bw_write"))
values = (int(place), 1024, 3), (ctypes.c_uint64,) * 3
ok(driver.cuLaunchKernel(function, 1, 1, 1, 256, 1, 1, 0, 0, values, 0))
ok(driver.cuCtxSynchronize())
host = bytearray(32)
ok(driver.cuMemcpyDtoH(host, place, 32))
print([int.from_bytes(host[i:i + 8], "little") for i in range(0, 32, 8)])
"""


def test_nvidias_bindings_see_the_card(bench: Any) -> None:
    pytest.importorskip("cuda.bindings.driver")
    machine = bench(card("h100-sxm", claimed_mib=64), opened=False)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **machine.fake.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout == "NVIDIA H100 80GB HBM3\n[3, 3, 4, 2]\n", run.stderr
