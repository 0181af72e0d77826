"""`nvidia-smi -L` and `nvidia-smi nvlink -s` / `-e` lists, alone or inside another log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gpuverify.codec import nvidia_smi_values as values
from gpuverify.codec.nvidia_smi_build import DeviceBuilder, EvidenceBuilder
from gpuverify.codec.nvidia_smi_values import OK
from gpuverify.model.claims import ClaimStatus

_GPU = re.compile(r"GPU (\d{1,3}): (.{1,120}?) \(UUID: ([^)]{1,80})\)")
_STATUS = re.compile(r"Link (\d{1,3}): (?:(\d{1,4})(?:\.(\d{1,3}))? GB/s|<inactive>|inactive)")
_ERRORS = re.compile(r"Link (\d{1,3}): (Replay|Recovery|CRC) Errors: (\d{1,15})")
_INACTIVE = "as all links are inactive"
_ERROR_CLAIMS = {
    "Replay": "nvlink.replay_error_count",
    "Recovery": "nvlink.recovery_error_count",
    "CRC": "nvlink.crc_error_count",
}


@dataclass(slots=True)
class _Links:
    """What was listed for one GPU."""

    speeds: dict[int, int] = field(default_factory=dict)
    errors: dict[str, dict[int, int]] = field(default_factory=dict)
    all_inactive: bool = False


class LinkReader:
    """Collects the lists line by line."""

    def __init__(self, build: EvidenceBuilder) -> None:
        """Read into one read-out.

        Args:
            build: The read-out that the GPUs belong to.
        """
        self.build = build
        self.found = False
        self._device: DeviceBuilder | None = None
        self._links: dict[int, _Links] = {}

    def line(self, body: str) -> bool:
        """Take one line if it belongs to such a list.

        Args:
            body: The line, stripped.

        Returns:
            Whether it did.
        """
        if body.startswith("GPU ") and (match := _GPU.fullmatch(body)):
            self._open(int(match[1]), match[2], match[3])
            return True
        if self._device is None:
            return False
        links = self._links.setdefault(self._device.index, _Links())
        if body.startswith("Link "):
            if match := _STATUS.fullmatch(body):
                speed = int(match[2] or 0) * 1000 + int((match[3] or "0").ljust(3, "0"))
                links.speeds[int(match[1])] = speed * 1000
                return True
            if match := _ERRORS.fullmatch(body):
                links.errors.setdefault(match[2], {})[int(match[1])] = int(match[3])
                return True
        if _INACTIVE in body:
            links.all_inactive = True
            return True
        return False

    def _open(self, ordinal: int, name: str, uuid: str) -> None:
        """Find the GPU of a heading by UUID, else by ordinal, else start it."""
        self.found = True
        parsed = values.uuid(uuid)
        device = next(
            (d for d in self.build.devices if OK is parsed[0] and d.value("gpu.uuid") == parsed[1]),
            None,
        )
        if device is None and ordinal < len(self.build.devices):
            at = self.build.devices[ordinal]
            device = at if at.value("gpu.uuid") is None else None
        if device is None:
            device = self.build.new_device(f"GPU {ordinal}")
        device.put("gpu.name", values.name(name), device.prefix + "GPU")
        device.put("gpu.uuid", parsed, device.prefix + "UUID")
        self._device = device

    def finish(self) -> None:
        """Turn the lists into claims; a list with gaps was cut and counts nothing."""
        for index, links in self._links.items():
            device = self.build.devices[index]
            call = device.prefix + "nvlink"
            if links.all_inactive:
                device.put("nvlink.active_count", (OK, 0, None), call)
                device.put(
                    "nvlink.link_count", (ClaimStatus.FAILED, None, "all links are inactive"), call
                )
            if links.speeds:
                self._count(device, links.speeds, call)
            for what, counts in links.errors.items():
                if not _gap(counts):
                    device.put(_ERROR_CLAIMS[what], (OK, sum(counts.values()), None), call)

    @staticmethod
    def _count(device: DeviceBuilder, speeds: dict[int, int], call: str) -> None:
        """Count links that exist and links that are up."""
        active = [speed for speed in speeds.values() if speed]
        if _gap(speeds):
            reason = (ClaimStatus.MALFORMED, None, f"list with gaps, last link {max(speeds)}")
            device.put("nvlink.link_count", reason, call)
            device.put("nvlink.active_count", reason, call)
        else:
            device.put("nvlink.link_count", (OK, len(speeds), None), call)
            device.put("nvlink.active_count", (OK, len(active), None), call)
        if active:
            device.put("nvlink.link_speed_kb_s", (OK, max(active), None), call)


def _gap(numbered: dict[int, int]) -> bool:
    """Whether the numbers are not 0 to n."""
    return max(numbered) != len(numbered) - 1
