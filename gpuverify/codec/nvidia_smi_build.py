"""From the values of one read-out to evidence: what XML and text have in common."""

from __future__ import annotations

import re

from gpuverify.codec import nvidia_smi_values as values
from gpuverify.codec.limits import MAX_DEVICES
from gpuverify.codec.nvidia_smi_fields import Node
from gpuverify.codec.nvidia_smi_values import Parsed
from gpuverify.codec.text import printable
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.part_numbers import parse_board_part_number, parse_gpu_part_number

_OK = ClaimStatus.OK
_SMI = Source.NVIDIA_SMI
_LOST = "GPU is lost"
_CACHE_ENTRIES = 256
_CACHE_CHARS = 48
_SLICE = re.compile(r"\bMIG \d+[gc]\.")


def _says(claim: Claim, sentence: str) -> bool:
    """Whether a sentence stands in place of a claim's value."""
    return claim.raw_text is not None and claim.raw_text.strip("[]").lower() == sentence


def _failed(claim: Claim | None) -> bool:
    """Whether a value was asked for and the read failed."""
    return claim is not None and claim.status is ClaimStatus.FAILED


class ClaimBuilder:
    """Claims of one device or of the host, one an id; a value displaces a reason, never a value."""

    def __init__(self) -> None:
        """Start without claims."""
        self.claims: dict[str, Claim] = {}

    def put(self, claim_id: str, parsed: Parsed, call: str) -> None:
        """Add a claim unless there is one with a value.

        Args:
            claim_id: Id from the vocabulary.
            parsed: What a parser made of the text.
            call: Path inside the document.
        """
        status, value, raw_text = parsed
        if claim_id in self.claims and (status is not _OK or self.claims[claim_id].status is _OK):
            return
        self.claims[claim_id] = Claim(
            id=claim_id, status=status, value=value, source=_SMI, call=call, raw_text=raw_text
        )

    def value(self, claim_id: str) -> object:
        """Return the value of a claim, None if there is none."""
        claim = self.claims.get(claim_id)
        return None if claim is None else claim.value


class DeviceBuilder(ClaimBuilder):
    """Claims of one GPU, with what has to be counted or put together at its end."""

    def __init__(self, index: int) -> None:
        """Start the GPU that stands at `index` in the read-out."""
        super().__init__()
        self.index = index
        self.prefix = f"gpu[{index}]/"
        self.lost = False
        self._parts: list[tuple[str, str, str]] = []
        self._reasons: list[str] | None = None
        self._counts: dict[str, int] = {}
        self._absent: dict[str, Parsed] = {}
        self._classes: dict[str, int] = {}
        self._retired: list[int] = []
        self._memory_clock = 0

    def add(self, node: Node, text: str, call: str = "") -> None:
        """Add the text of one element or line.

        Args:
            node: What the fields table says about it.
            text: The text, stripped.
            call: Path inside the document, where it is not the node's own.
        """
        cache = node.cache
        if cache is None or call:
            for claim_id, parser in node.claims:
                if parser is None:
                    self.special(claim_id, text, self.prefix + (call or node.path))
                else:
                    self.put(claim_id, parser(text), self.prefix + (call or node.path))
            return
        made = cache.get((self.index, text))
        if made is None:
            made = self._make(node, text)
            if len(cache) >= _CACHE_ENTRIES:
                cache.clear()
            if len(text) <= _CACHE_CHARS:
                cache[self.index, text] = made
        claims = self.claims
        for claim in made:
            if claim.id not in claims or (
                claim.status is _OK and claims[claim.id].status is not _OK
            ):
                claims[claim.id] = claim

    def _make(self, node: Node, text: str) -> tuple[Claim, ...]:
        """Make the claims of one element."""
        call = self.prefix + node.path
        made: list[Claim] = []
        for claim_id, parser in node.claims:
            if parser is not None:
                status, value, raw_text = parser(text)
                made.append(
                    Claim(
                        id=claim_id,
                        status=status,
                        value=value,
                        source=_SMI,
                        call=call,
                        raw_text=raw_text,
                    )
                )
        return tuple(made)

    def add_group(self, node: Node, text: str, call: str = "") -> None:
        """Add a bare text in place of a group ("Remapped Rows : N/A"): all its fields lack."""
        reason = values.absent(text)
        if reason is None:
            return
        for claim_id, parser in node.below():
            if parser is not None:
                self.put(claim_id, reason, self.prefix + (call or node.path))

    def special(self, claim_id: str, text: str, call: str) -> None:
        """Take what is counted, chosen or put together at the end.

        Args:
            claim_id: Special name of the fields table.
            text: The text, stripped.
            call: Path inside the document.
        """
        kind, _, detail = claim_id[1:].partition(".")
        if kind == "reason":
            self._reasons = self._reasons or []
            if text == "Active":
                self._reasons.append(detail)
        elif kind == "part":
            self._parts.append((detail, text, call))
        elif kind == "list":
            self._list_seen(detail, text)
        elif kind == "item":
            self._counts[detail] = self._counts.get(detail, 0) + 1
        else:
            self._special_value(kind, text)

    def _special_value(self, kind: str, text: str) -> None:
        """Take one value that only counts together with others."""
        if kind in {"class", "subclass"}:
            status, value, _ = values.small(text.removeprefix("0x"))
            if status is _OK and isinstance(value, int):
                self._classes[kind] = value
        elif kind == "retired-time":
            if (seconds := values.unix_time(text)) is not None:
                self._retired = [min([*self._retired, seconds]), max([*self._retired, seconds])]
        elif kind == "memory-clock":
            clock = values.megahertz(text)[1]
            if isinstance(clock, int):
                self._memory_clock = max(self._memory_clock, clock)
        elif kind == "process-type" and text == "G":
            self._counts["process"] = self._counts.get("process", 0) - 1

    def _list_seen(self, item: str, text: str) -> None:
        """Note that a list was there: "None" and no element are a count of 0."""
        if text and text.lower() != "none":
            self._absent[item] = values.absent(text) or values.malformed(text)
        else:
            self._counts.setdefault(item, 0)

    def _finish_parts(self) -> None:
        """Tell board and GPU part numbers apart by their shape.

        Drivers up to 515 print the board's number under the GPU's name.
        """
        for what, text, call in self._parts:
            parsed = values.upper(text)
            claim_id = f"gpu.{what}_part_number"
            if parse_gpu_part_number(text) is not None:
                claim_id = "gpu.gpu_part_number"
            elif parse_board_part_number(text) is not None:
                claim_id = "gpu.board_part_number"
            self.put(claim_id, parsed, call)

    def _finish_counts(self) -> None:
        """Turn what was counted into claims."""
        for counted, claim_id in (
            ("process", "gpu.process_count"),
            ("mig-device", "mig.device_count"),
        ):
            if counted in self._counts:
                self.put(claim_id, (_OK, max(0, self._counts[counted]), None), self.prefix[:-1])
            elif counted in self._absent:
                self.put(claim_id, self._absent[counted], self.prefix[:-1])
        if self._retired:
            self.put("retired.first_time_s", (_OK, self._retired[0], None), self.prefix[:-1])
            self.put("retired.last_time_s", (_OK, self._retired[1], None), self.prefix[:-1])
        if self._memory_clock:
            self.put(
                "clock.memory_supported_max_khz",
                (_OK, self._memory_clock, None),
                self.prefix + "supported_clocks",
            )

    def note_memory_clocks(self, megahertz: int) -> None:
        """Note the highest supported memory clock, where the list itself was skipped."""
        self._memory_clock = max(self._memory_clock, megahertz * 1000)

    def is_lost(self) -> bool:
        """Whether a sentence or any field says that the GPU is lost."""
        lost = ClaimStatus.DEVICE_LOST
        return self.lost or lost in {claim.status for claim in self.claims.values()}

    def finish(self) -> DeviceEvidence:
        """Put the last claims together and return the device."""
        self._finish_parts()
        self._finish_counts()
        where = self.prefix[:-1]
        if self._reasons is not None:
            reasons = ",".join(self._reasons) or "none"
            call = self.prefix + "clocks_event_reasons"
            self.put("clock.event_reasons", (_OK, reasons, None), call)
        if len(self._classes) == 2:
            code = self._classes["class"] << 16 | self._classes["subclass"] << 8
            self.put("pci.class_code", (_OK, code, None), self.prefix + "pci/pci_base_class")
        name = self.value("gpu.name")
        if isinstance(name, str) and _SLICE.search(name):
            self.put("mig.is_slice", (_OK, True, None), self.prefix + "product_name")
        waiting = [c for c in self.claims.values() if _says(c, values.RESET_REQUIRED)]
        if waiting:
            self.put("gpu.reset_required", (_OK, True, waiting[0].raw_text), waiting[0].call)
        if self.is_lost():
            self.put("gpu.responding", (_OK, False, _LOST), where)
        elif all(_failed(self.claims.get(claim_id)) for claim_id in ("gpu.name", "gpu.uuid")):
            # The bus id comes from the bus; the card itself did not even give its name.
            self.put("gpu.responding", (_OK, False, self.claims["gpu.name"].raw_text), where)
        elif any(claim.status is _OK for claim in self.claims.values()):
            self.put("gpu.responding", (_OK, True, None), where)
        return DeviceEvidence(index=self.index, claims=ClaimSet(tuple(self.claims.values())))


class EvidenceBuilder:
    """The devices and the host of one read-out."""

    def __init__(self, origin: str) -> None:
        """Start an empty read-out.

        Args:
            origin: What is being read, for error messages and `Evidence.origin`.
        """
        self.origin = origin
        self.host = ClaimBuilder()
        self.devices: list[DeviceBuilder] = []
        self.timestamp: int | None = None
        self.inforom_warnings: list[str] = []
        self.lost_devices: list[str] = []
        self.sharing_layer = ""

    def new_device(self, where: str) -> DeviceBuilder:
        """Start the next GPU.

        Args:
            where: Place in the document, for the error message.

        Returns:
            Its builder.

        Raises:
            FormatError: More GPUs than the limit.
        """
        if len(self.devices) >= MAX_DEVICES:
            raise FormatError(
                self.origin, f"more than {MAX_DEVICES} GPUs; give one machine's log", where
            )
        device = DeviceBuilder(len(self.devices))
        self.devices.append(device)
        return device

    def by_bus_id(self, bus_id: str) -> DeviceBuilder | None:
        """Return the GPU with a bus id, None if there is none."""
        return next((d for d in self.devices if d.value("pci.bus_id") == bus_id), None)

    def add_host(self, node: Node, text: str, call: str = "") -> None:
        """Add the text of one element or line about the host."""
        for claim_id, parser in node.claims:
            if parser is not None:
                self.host.put(claim_id, parser(text), call or node.path)
            elif (seconds := values.unix_time(text)) is not None and self.timestamp is None:
                self.timestamp = seconds

    def note_warning(self, bus_id: str) -> None:
        """Note "infoROM is corrupted" about a bus id."""
        if bus_id not in self.inforom_warnings and len(self.inforom_warnings) < MAX_DEVICES:
            self.inforom_warnings.append(bus_id)

    def note_lost(self, which: str) -> None:
        """Note that nvidia-smi could not reach a GPU, by bus id or else by ordinal."""
        if which not in self.lost_devices and len(self.lost_devices) < MAX_DEVICES:
            self.lost_devices.append(which)

    def _finish_messages(self) -> None:
        """Turn nvidia-smi's sentences into claims of host and devices."""
        for which in self.lost_devices[:]:
            device = self.by_bus_id(which)
            if device is None:
                device = self.new_device("")
                device.put("pci.bus_id", values.bus_id(which), f"message about {which}")
            device.lost = True
        for device in self.devices:
            bus = device.value("pci.bus_id")
            if not device.lost and device.is_lost():
                self.note_lost(bus if isinstance(bus, str) else device.prefix[:-1])
        for bus_id in self.inforom_warnings:
            if (device := self.by_bus_id(bus_id)) is not None:
                device.put("inforom.valid", (_OK, False, None), "WARNING: infoROM is corrupted")
        if self.sharing_layer:
            layer = (_OK, self.sharing_layer, None)
            self.host.put("host.sharing_layer", layer, "messages beside nvidia-smi's")
        for claim_id, found in (
            ("host.inforom_warnings", self.inforom_warnings),
            ("host.lost_devices", self.lost_devices),
        ):
            if found:
                self.host.put(claim_id, (_OK, ",".join(found), None), "messages of nvidia-smi")

    def _finish_host(self) -> None:
        """Derive what the devices say about the host."""
        models = {d.value("gpu.driver_model") for d in self.devices}
        if models & {"WDDM", "TCC", "MCDM"}:
            self.host.put("host.operating_system", (_OK, "windows", None), "driver_model")
        modes = [d.value("gpu.virtualization_mode") for d in self.devices]
        if "vgpu" in modes:
            self.host.put("host.vgpu_guest", (_OK, True, None), "virtualization_mode")
        elif modes and None not in modes:
            self.host.put("host.vgpu_guest", (_OK, False, None), "virtualization_mode")

    def _merge_listed(self) -> None:
        """Merge a GPU that is listed by UUID alone (`-L`, link lists) into the same one's block."""
        for listed in self.devices[:]:
            uuid = listed.value("gpu.uuid")
            if uuid is None or listed.value("pci.bus_id") is not None:
                continue
            for block in self.devices:
                if block.value("pci.bus_id") is not None and block.value("gpu.uuid") == uuid:
                    block.claims = {**listed.claims, **block.claims}
                    self.devices.remove(listed)
                    break
        for index, device in enumerate(self.devices):
            device.index = index

    def finish(self) -> Evidence:
        """Return the read-out as evidence of class IMPORTED."""
        self._merge_listed()
        self._finish_messages()
        self._finish_host()
        version = self.host.value("driver.version") or self.host.value("driver.kernel_version")
        return Evidence(
            evidence_class=EvidenceClass.IMPORTED,
            origin=printable(self.origin),
            tool=f"nvidia-smi {version}" if version else "nvidia-smi",
            collected_ms=None if self.timestamp is None else self.timestamp * 1000,
            devices=tuple(device.finish() for device in self.devices),
            host=ClaimSet(tuple(self.host.claims.values())),
        )
