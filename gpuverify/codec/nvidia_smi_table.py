"""The plain `nvidia-smi` table: little of it is safe, but its warnings stand nowhere else.

A cut name ("NVIDIA A800 80G...") is no name. The last line may say that an InfoROM is corrupted,
which `-q` and `-q -x` never do.
"""

from __future__ import annotations

import re

from gpuverify.codec import nvidia_smi_values as values
from gpuverify.codec.limits import MAX_LINE_CHARS
from gpuverify.codec.nvidia_smi_build import DeviceBuilder, EvidenceBuilder
from gpuverify.codec.nvidia_smi_links import LinkReader
from gpuverify.codec.nvidia_smi_messages import add_message
from gpuverify.codec.nvidia_smi_values import OK
from gpuverify.codec.text import check_lines
from gpuverify.errors import FormatError
from gpuverify.model.evidence import Evidence

_HEADER = re.compile(r"\| NVIDIA-SMI +(\S{1,20})")
_VERSIONS = (
    ("driver.version", re.compile(r"Driver Version: +(\S{1,20})")),
    ("driver.kernel_version", re.compile(r"KMD Version: +(\S{1,20})")),
    ("driver.cuda_version", re.compile(r"CUDA (?:UMD )?Version: +(\S{1,20})")),
)
_BUS = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_FIRST = re.compile(
    rf"\| {{1,4}}(\d{{1,3}}) +(\S.{{0,60}}?) +(On|Off|N/A|WDDM|TCC|MCDM|ERR!) *\|"
    rf" *({_BUS}) +(\S{{1,12}}) *\| *(\S{{1,20}}) *\|"
)
_SECOND = re.compile(
    r"\| {0,4}(\S{1,8}) +(\S{1,8}) +(\S{1,8}) +(\S{1,12}) */ *(\S{1,8}) *\|"
    r" *(\S{1,12}) */ *(\S{1,12}) *\| *[^|]{1,40}\|"
)
_THIRD = re.compile(r"\| +\| +\| *(Enabled\*?|Disabled\*?|N/A) *\|")


def is_table(text: str) -> bool:
    """Whether a text holds the plain table."""
    return _HEADER.search(text) is not None


def read_nvidia_smi_table(text: str, origin: str) -> Evidence:
    """Read the plain table.

    Args:
        text: The log as `decode_text` gives it.
        origin: What it was read from, for people.

    Returns:
        Evidence of class IMPORTED with what the table says without doubt.

    Raises:
        FormatError: Not such a table, or too many GPUs.
    """
    build = EvidenceBuilder(origin)
    links = LinkReader(build)
    header = _HEADER.search(text)
    if header is None:
        raise FormatError(origin, "not a table of nvidia-smi; give the output of `nvidia-smi -q`")
    check_lines(text, origin)
    device: DeviceBuilder | None = None
    for number, match in enumerate(re.finditer(r"[^\n]*\n?", text), start=1):
        if match.end() - match.start() > MAX_LINE_CHARS:
            continue
        line = match.group().rstrip()
        if not line.startswith("|"):
            if line and not line.startswith("+"):
                _ = links.line(line.strip()) or add_message(build, line)
        elif first := _FIRST.match(line):
            device = build.new_device(f"line {number}")
            _first_row(device, first)
        elif device is not None and (second := _SECOND.match(line)):
            _second_row(device, second)
        elif device is not None and (third := _THIRD.fullmatch(line)):
            device.put(
                "mig.mode_current", values.flag(third[1].rstrip("*")), device.prefix + "MIG M."
            )
            device = None
        elif _HEADER.match(line):
            _versions(build, line)
    links.finish()
    return build.finish()


def _versions(build: EvidenceBuilder, line: str) -> None:
    """Take the versions of the header; since 617 it names the kernel driver alone."""
    for claim_id, pattern in _VERSIONS:
        if found := pattern.search(line):
            build.host.put(claim_id, values.version(found[1]), "header of the table")
    if (kernel := build.host.value("driver.kernel_version")) is not None:
        build.host.put("driver.version", (OK, str(kernel), None), "header of the table")


def _first_row(device: DeviceBuilder, row: re.Match[str]) -> None:
    """Take name, persistence, bus id and ECC of the first line."""
    prefix = device.prefix
    device.put("pci.bus_id", values.bus_id(row[4]), prefix + "Bus-Id")
    device.put("gpu.name", values.name(row[2]), prefix + "Name")
    if row[3] in {"WDDM", "TCC", "MCDM"}:
        device.put("gpu.driver_model", (OK, row[3], None), prefix + "TCC/WDDM")
    else:
        device.put("gpu.persistence_mode", values.flag(row[3]), prefix + "Persistence-M")
    device.put("gpu.display_active", values.flag(row[5]), prefix + "Disp.A")
    # A number stands there exactly while ECC is on.
    ecc = (OK, True, None) if row[6].isdecimal() else values.flag(row[6])
    device.put("ecc.mode_current", ecc, prefix + "Volatile Uncorr. ECC")


def _second_row(device: DeviceBuilder, row: re.Match[str]) -> None:
    """Take fan, temperature, power and memory of the second line."""
    prefix = device.prefix
    device.put("gpu.fan_error", values.fan(row[1]), prefix + "Fan")
    for claim_id, parser, text, unit, call in (
        ("temperature.gpu_celsius", values.celsius, row[2], "C", "Temp"),
        ("power.draw_mw", values.watt, row[4], "W", "Pwr:Usage"),
        ("power.limit_enforced_mw", values.watt, row[5], "W", "Pwr:Cap"),
        ("memory.used_bytes", values.mebibytes, row[6], "MiB", "Memory-Usage"),
        ("memory.total_bytes", values.mebibytes, row[7], "MiB", "Memory-Usage"),
    ):
        spaced = f"{text[: -len(unit)]} {unit}" if text.endswith(unit) else text
        device.put(claim_id, parser(spaced), prefix + call)
