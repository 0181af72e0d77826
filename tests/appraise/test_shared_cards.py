"""A part of a card, read inside a guest or a container, is no story of a forged card."""

from __future__ import annotations

import pytest

from gpuverify.appraise import appraise
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.nvidia_smi_text import read_nvidia_smi_text
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.sale import SaleClaim
from gpuverify.model.verdict import Result, Verdict
from gpuverify.refdb import Database

NOW_MS = 1_800_000_000_000
LAYER = "[HAMI-core Msg(31:7:libvgpu.c:836)]: Initializing.....\n"


def judge(name: str, device: str, mode: str, total: int, reserved: int, host: str = "") -> Result:
    text = f"""\
==============NVSMI LOG==============
Driver Version                            : 535.183.06
{host}Attached GPUs                             : 1
GPU 00000000:00:10.0
    Product Name                          : {name}
    MIG Mode
        Current                           : Disabled
    GPU Virtualization Mode
        Virtualization Mode               : {mode}
    PCI
        Device Id                         : 0x{device}10DE
        Sub System Id                     : 0x150410DE
    FB Memory Usage
        Total                             : {total} MiB
        Reserved                          : {reserved} MiB
"""
    evidence = read_nvidia_smi_text(text, "guest.txt")
    policy = load_policy("standard")
    return appraise(evidence, SaleClaim(), policy, Database.open(), now_ms=NOW_MS)


def accusations(result: Result) -> list[str]:
    return [
        f"{finding.rule}/{finding.code}"
        for finding in result.devices[0].findings
        if finding.axis is Axis.IDENTITY and finding.outcome in (Outcome.WARN, Outcome.FAIL)
    ]


def test_a_virtual_gpus_reserve_accuses_nobody() -> None:
    result = judge("NVIDIA RTXA6000-24Q", "2230", "VGPU", 24576, 2134)
    assert accusations(result) == []
    assert result.verdict is Verdict.UNVERIFIED


def test_the_same_reserve_on_a_whole_card_is_said() -> None:
    result = judge("NVIDIA RTX A6000", "2230", "None", 46068, 2134)
    assert accusations(result) == ["capacity.reserved/inflated"]


@pytest.mark.parametrize(("host", "verdict"), [(LAYER, "unverified"), ("", "mismatch")])
def test_a_share_of_the_memory_shown_by_a_sharing_layer(host: str, verdict: str) -> None:
    result = judge("Tesla V100-PCIE-16GB", "1DB4", "None", 3000, 240, host)
    assert result.verdict.value == verdict
