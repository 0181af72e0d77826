"""Taking identities out of a recording, without changing what rules would find in it.

Serial numbers, UUIDs, per-device ids, fabric and chassis identities and the host's name become
salted pseudonyms of the same shape, the same everywhere in one recording: two equal UUIDs stay
equal, a serial keeps its length and its first digits (which carry no card). Placeholders stay as
they are. What is private and tells nothing about a card (environment, processes, other lines of the
kernel log) is left out.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace

from gpuverify.sources.recording import CommandEntry, FileEntry, NvmlCall, Recording, SmiEntry
from gpuverify.sources.recording_ctypes import Json, bytes_of, integer_of, number
from gpuverify.sources.recording_measured import MeasuredRow

_KEPT_VARIABLES = re.compile(rb"(?:LD_\w+|PYTHON\w+|container)=")
_KEPT_LOG = re.compile(rb"NVRM|nvidia|SEC2_DEBUG|Xid", re.IGNORECASE)
_MOUNT_POINT = re.compile(rb"\S+ \S+ \S+ \S+ (?:/(?:proc|sys|dev|usr|lib|bin|sbin|etc)\b\S*|/) ")
_HOME = re.compile(rb"/home/[^/\s\0]+")
_SERIAL_KEEP = 7
_LEAVES = {
    "serial": "serial", "uuid": "uuid", "pdi": "pdi",
    "platformInfo/chassis_serial_number": "serial", "platformInfo/gpu_fabric_guid": "pdi",
    "fabric/clusterUuid": "uuid",
}  # fmt: skip
_SIGNED = (
    "nvmlDeviceGetConfComputeGpuCertificate",
    "nvmlDeviceGetConfComputeGpuAttestationReport",
)
_NO_DATA = 21  # NVML_ERROR_NO_DATA
_ALNUM = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class Pseudonyms:
    """Pseudonyms of one recording.

    Attributes:
        texts: Pseudonym by the text that it stands for.
        blobs: The same for bytes.
    """

    def __init__(self, salt: bytes) -> None:
        """Make pseudonyms that nobody can compute without `salt`."""
        self.texts: dict[str, str] = {}
        self.blobs: dict[bytes, bytes] = {}
        self._salt = salt

    def _digest(self, text: str) -> str:
        """Return 64 hex digits that follow from a text and the salt."""
        return hashlib.sha256(self._salt + text.lower().encode()).hexdigest()

    def add(self, kind: str, text: str) -> None:
        """Give a text a pseudonym of its shape.

        Args:
            kind: "serial", "uuid", "pdi" or "name".
            text: What identifies a card or owner.
        """
        if text in self.texts or placeholder(text):
            return
        digits = self._digest(text)
        if kind in ("uuid", "pdi"):
            self._add_hex(text, digits)
            return
        # Place and week of making stand in the first seven of thirteen digits.
        keep = max(0, min(_SERIAL_KEEP, len(text) - 6)) if kind == "serial" else 0
        made = text[:keep] + "".join(
            str(int(digits[2 * at : 2 * at + 2], 16) % 10)
            if letter.isdigit()
            else _ALNUM[10 + int(digits[2 * at : 2 * at + 2], 16) % 24]
            if letter.isalpha() and letter.isupper()
            else chr(ord("a") + int(digits[2 * at : 2 * at + 2], 16) % 26)
            if letter.isalpha()
            else letter
            for at, letter in enumerate(text[keep:32], start=0)
        )
        made += text[len(made) :]
        self.texts[text] = made
        self.blobs[text.encode()] = made.encode()

    def _add_hex(self, text: str, digits: str) -> None:
        """Replace hex digits, in a UUID or behind 0x, and in the bytes that they stand for."""
        front = re.match(r"GPU-|MIG-|0x", text)
        start = front.end() if front else 0
        at = iter(digits)
        body = "".join(
            next(at) if letter in "0123456789abcdefABCDEF" else letter for letter in text[start:]
        )
        made = text[:start] + body
        for old, new in (
            (text, made), (text.lower(), made.lower()),
            (text[:start] + text[start:].upper(), made[:start] + body.upper()),
        ):  # fmt: skip
            self.texts[old] = new
            self.blobs[old.encode()] = new.encode()
        plain_old = re.sub(r"[^0-9a-fA-F]", "", text[start:])
        plain_new = re.sub(r"[^0-9a-fA-F]", "", body)
        if len(plain_old) in (16, 32):
            old_bytes, new_bytes = bytes.fromhex(plain_old), bytes.fromhex(plain_new)
            self.blobs[old_bytes] = new_bytes
            self.blobs[old_bytes[::-1]] = new_bytes[::-1]

    def text(self, text: str) -> str:
        """Replace everything that identifies in a text."""
        for old, new in self.texts.items():
            text = text.replace(old, new)
        return text

    def data(self, data: bytes) -> bytes:
        """Replace everything that identifies in bytes."""
        for old, new in self.blobs.items():
            data = data.replace(old, new)
        return data

    def json(self, value: Json) -> Json:
        """Replace everything that identifies in a recorded value."""
        if isinstance(value, str):
            if value.startswith("hex:"):
                # A single character has to stay in this form, which alone says that it is one.
                return "hex:" + self.data(bytes_of(value)).hex()
            return self.text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            changed = self.texts.get(f"0x{value & (1 << 64) - 1:016x}")
            return value if changed is None else number(int(changed, 16))
        if isinstance(value, list):
            octets = [item for item in value if isinstance(item, int) and 0 <= item < 256]
            if len(octets) == len(value) >= 8:
                return list(self.data(bytes(octets)))
            return [self.json(item) for item in value]
        return {name: self.json(item) for name, item in value.items()}


def placeholder(text: str) -> bool:
    """Whether a text stands where an identity would, but is none.

    Args:
        text: A serial, UUID or other identity.
    """
    plain = re.sub(r"^(?:GPU-|MIG-|0x)|[^0-9A-Za-z]", "", text)
    return (
        len(plain) < 6
        or len(set(plain)) == 1
        or plain.upper() in ("NONE", "UNKNOWN", "REDACTED")
        or plain in "0123456789012345678901234567890"
        or not any(letter.isdigit() for letter in plain)
    )


def _identities(recording: Recording, names: Pseudonyms) -> None:
    """Find everything that identifies a card, in all sources."""
    for row in recording.measured:
        if row.claim.id == "gpu.uuid" and isinstance(row.claim.value, str):
            names.add("uuid", row.claim.value)
    for call in recording.calls:
        if call.out:
            _call_identities(call.symbol, call.out[0], names)
    for path, value in recording.nvidia_smi.leaves if recording.nvidia_smi else ():
        kind = _LEAVES.get(path.partition("/")[2])
        if kind is not None and value not in ("N/A", ""):
            names.add(kind, value)
    for path, entry in recording.files.items():
        if path.endswith("/information"):
            found = re.search(r"GPU UUID:\s*(\S+)", entry.data.decode("utf-8", "replace"))
            if found and "?" not in found[1]:
                names.add("uuid", found[1])


def _call_identities(symbol: str, out: Json, names: Pseudonyms) -> None:
    """Find what identifies a card in what one NVML call filled in."""
    kind = {"nvmlDeviceGetUUID": "uuid", "nvmlDeviceGetSerial": "serial"}.get(symbol)
    if kind is not None and isinstance(out, str) and not out.startswith("hex:"):
        names.add(kind, out)
    if not isinstance(out, dict):
        return
    if symbol == "nvmlDeviceGetPdi":
        names.add("pdi", f"0x{integer_of(out.get('value', 0)):016x}")
    elif symbol == "nvmlDeviceGetPlatformInfo":
        _platform(out, names)
    elif symbol.startswith("nvmlDeviceGetGpuFabricInfo"):
        cluster = out.get("clusterUuid")
        if isinstance(cluster, list) and cluster:
            octets = bytes(integer_of(item) for item in cluster).ljust(16, b"\0").hex()
            parts = (octets[:8], octets[8:12], octets[12:16], octets[16:20], octets[20:])
            names.add("uuid", "-".join(parts))


def _platform(out: dict[str, Json], names: Pseudonyms) -> None:
    """Find chassis serial and fabric GUID in NVML's platform structure."""
    chassis, guid = out.get("chassisSerialNumber"), out.get("ibGuid")
    if isinstance(chassis, str) and chassis:
        names.add("serial", bytes_of(chassis).decode("latin-1"))
    if isinstance(guid, str) and guid:
        octets = bytes_of(guid).ljust(16, b"\0")
        names.add("pdi", "0x" + (octets if any(octets[8:]) else octets[:8]).hex())


def _file(path: str, entry: FileEntry, names: Pseudonyms) -> FileEntry:
    """Redact a file's content."""
    if entry.size is None:
        return replace(entry, target=names.text(entry.target))
    data = entry.data
    if path.endswith("/environ"):
        parts = [part for part in data.split(b"\0") if _KEPT_VARIABLES.match(part)]
        data = b"".join(part + b"\0" for part in parts)
    elif path == "/dev/kmsg":
        data = _log(data)
    elif path.endswith("/mountinfo"):
        data = _lines(data, _MOUNT_POINT)
    data = _HOME.sub(b"/home/user", names.data(data))
    padded = entry.size - len(entry.data)
    return replace(
        entry, data=data, size=len(data) + padded, sha256="" if data != entry.data else entry.sha256
    )


def _lines(data: bytes, pattern: re.Pattern[bytes]) -> bytes:
    """Keep the lines in which a pattern is found."""
    return b"".join(line for line in data.splitlines(keepends=True) if pattern.search(line))


def _log(data: bytes) -> bytes:
    """Keep the lines of a kernel log that tell of a card; an empty log would be no log at all."""
    return _lines(data, _KEPT_LOG) or (b"6,0,0,-;[redacted]\n" if data else b"")


def _command(entry: CommandEntry, names: Pseudonyms) -> CommandEntry:
    """Redact what a command printed."""
    stdout = entry.stdout
    program = entry.argv[0].rsplit("/", 1)[-1] if entry.argv else ""
    if program in ("dmesg", "journalctl"):
        stdout = _log(stdout)
    elif program == "nvidia-smi" and b"Processes:" in stdout:
        head, _, tail = stdout.partition(b"Processes:")
        stdout = head + b"Processes:" + _lines(tail, re.compile(rb"^(?!\|\s+\d)"))
    return replace(
        entry,
        stdout=_HOME.sub(b"/home/user", names.data(stdout)),
        stderr=_HOME.sub(b"/home/user", names.data(entry.stderr)),
    )


def _smi(entry: SmiEntry | None, names: Pseudonyms) -> SmiEntry | None:
    """Redact nvidia-smi's document."""
    if entry is None:
        return None
    return replace(
        entry,
        leaves=tuple(
            (path, "[redacted]" if path.endswith("/process_name") else names.text(value))
            for path, value in entry.leaves
        ),
    )


def _call(call: NvmlCall, names: Pseudonyms) -> NvmlCall:
    """Redact an NVML call."""
    if call.symbol in _SIGNED:
        # A chain and a signed report name the chip and cannot be changed: they are left out.
        return replace(call, returns=_NO_DATA, out=(), raw=())
    arguments = tuple(
        names.text(value) if isinstance(value, str) else value for value in call.arguments
    )
    return replace(
        call,
        arguments=arguments,
        out=tuple(names.json(value) for value in call.out),
        raw=tuple(names.data(bytes.fromhex(raw)).hex() for raw in call.raw),
    )


def redacted(recording: Recording, *, host_name: str = "", salt: bytes | None = None) -> Recording:
    """Return a recording without identities.

    Args:
        recording: The recording.
        host_name: The machine's name, "" if there is none to look for.
        salt: Salt of the pseudonyms; a fresh random one, kept nowhere, where it is not given.
    """
    names = Pseudonyms(os.urandom(16) if salt is None else salt)
    _identities(recording, names)
    if len(host_name) >= 4 and host_name != "localhost":
        names.add("name", host_name)
    return replace(
        recording,
        calls=tuple(_call(call, names) for call in recording.calls),
        nvidia_smi=_smi(recording.nvidia_smi, names),
        files={
            _HOME.sub(b"/home/user", path.encode()).decode(): _file(path, entry, names)
            for path, entry in recording.files.items()
        },
        commands=tuple(_command(entry, names) for entry in recording.commands),
        measured=tuple(_measured(row, names) for row in recording.measured),
    )


def _measured(row: MeasuredRow, names: Pseudonyms) -> MeasuredRow:
    """Replace what identifies in a row of what was measured."""
    claim = row.claim
    value = names.text(claim.value) if isinstance(claim.value, str) else claim.value
    raw_text = None if claim.raw_text is None else names.text(claim.raw_text)
    return replace(row, claim=replace(claim, value=value, raw_text=raw_text))
