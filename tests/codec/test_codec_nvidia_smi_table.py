"""The plain table: what is safe in it, and its warnings."""

from __future__ import annotations

import pytest

from gpuverify.codec.nvidia_smi_table import read_nvidia_smi_table
from gpuverify.codec.read import read_evidence
from gpuverify.errors import FormatError
from gpuverify.model.claims import ClaimStatus

MIB = 2**20

NARROW = """\
user@host:~$ nvidia-smi
Fri Jun 11 19:27:00 2031
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 460.32.03    Driver Version: 460.32.03    CUDA Version: 11.2     |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|                               |                      |               MIG M. |
|===============================+======================+======================|
|   0  Tesla V100-SXM2...  Off  | 00000001:00:00.0 Off |                    7 |
| N/A   40C    P0    43W / 300W |      1MiB / 32510MiB |      0%      Default |
|                               |                      |                  N/A |
+-------------------------------+----------------------+----------------------+
|   1  Tesla T4            On   | 00000002:00:00.0  On |                  Off |
|ERR!   41C    P0    44W /  70W |      2MiB / 15109MiB |      3%   E. Process |
|                               |                      |              Enabled |
+-------------------------------+----------------------+----------------------+
WARNING: infoROM is corrupted at gpu 0002:00:00.0
"""

WIDE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 617.14                 KMD Version: 617.14        CUDA UMD Version: 13.4     |
+-----------------------------------------+------------------------+----------------------+
|   0  NVIDIA GeForce RTX 2080 Ti   WDDM  |   00000000:DA:00.0 Off |                  N/A |
| 18%   27C    P8             23W /  250W |       5MiB /  22528MiB |      0%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+

GPU 0: NVIDIA GeForce RTX 2080 Ti (UUID: GPU-1b7e44c2-90a3-4d5f-8e61-c03a5d2f7b98)
"""


def test_what_is_safe() -> None:
    evidence = read_evidence(NARROW.encode(), "table.txt")
    first, second = (device.claims for device in evidence.devices)
    assert first.read("gpu.name").status is ClaimStatus.SENTINEL
    assert first.read("gpu.name").raw_text == "Tesla V100-SXM2..."
    assert first.value("memory.total_bytes") == 32510 * MIB
    assert first.value("memory.used_bytes") == 1 * MIB
    assert first.value("pci.bus_id") == "00000001:00:00.0"
    assert first.value("ecc.mode_current") is True
    assert first.value("power.limit_enforced_mw") == 300_000
    assert first.value("power.draw_mw") == 43_000
    assert first.value("temperature.gpu_celsius") == 40
    assert first.read("gpu.fan_error").status is ClaimStatus.NOT_SUPPORTED
    assert second.value("gpu.name") == "Tesla T4"
    assert second.value("gpu.fan_error") is True
    assert second.value("ecc.mode_current") is False
    assert second.value("mig.mode_current") is True
    assert second.value("gpu.display_active") is True
    assert evidence.host.value("driver.version") == "460.32.03"
    assert evidence.host.value("driver.cuda_version") == "11.2"


def test_the_warning_that_stands_nowhere_else() -> None:
    evidence = read_evidence(NARROW.encode(), "table.txt")
    assert evidence.host.value("host.inforom_warnings") == "00000002:00:00.0"
    assert evidence.devices[1].claims.value("inforom.valid") is False
    assert not evidence.devices[0].claims.read("inforom.valid").ok


def test_wide_windows_table_with_list() -> None:
    evidence = read_evidence(WIDE.encode(), "table.txt")
    assert len(evidence.devices) == 1
    claims = evidence.devices[0].claims
    assert claims.value("gpu.name") == "NVIDIA GeForce RTX 2080 Ti"
    assert claims.value("gpu.uuid") == "GPU-1b7e44c2-90a3-4d5f-8e61-c03a5d2f7b98"
    assert claims.value("memory.total_bytes") == 22528 * MIB
    assert claims.value("gpu.fan_error") is False
    assert evidence.host.value("driver.version") == "617.14"
    assert evidence.host.value("driver.kernel_version") == "617.14"
    assert evidence.host.value("host.operating_system") == "windows"


def test_lost_gpu_in_front_of_the_table() -> None:
    text = "Unable to determine the device handle for GPU0000:03:00.0: Unknown Error\n" + NARROW
    evidence = read_evidence(text.encode(), "table.txt")
    assert evidence.host.value("host.lost_devices") == "00000000:03:00.0"
    assert len(evidence.devices) == 3


def test_a_table_before_a_whole_log_does_not_hide_it(sample_text: str) -> None:
    evidence = read_evidence((NARROW + sample_text).encode(), "both.txt")
    assert evidence.devices[0].claims.value("gpu.uuid") is not None
    assert evidence.host.value("host.inforom_warnings") == "00000002:00:00.0"


def test_too_many_rows_are_refused() -> None:
    row = NARROW.splitlines()[9] + "\n"
    header = NARROW.splitlines()[3] + "\n"
    with pytest.raises(FormatError, match="more than 256"):
        read_nvidia_smi_table(header + row * 300, "table.txt")


def test_no_table() -> None:
    with pytest.raises(FormatError):
        read_nvidia_smi_table("hello", "x")
