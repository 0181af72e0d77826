"""Our own evidence file: written canonically, read strictly, never believed about its class."""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring
from typing import Any
from unicodedata import category

from gpuverify.codec import strict_json
from gpuverify.codec.limits import MAX_DEVICES
from gpuverify.codec.text import printable
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.vocabulary import VOCABULARY, Scope

SCHEMA = "gpuverify/evidence/v1"

# Control, format (bidi among them), surrogate, line and paragraph separator.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_STATUS = {status.value: status for status in ClaimStatus}
_SOURCE = {source.value: source for source in Source}
_TOP = frozenset({"schema", "origin", "tool", "collected_ms", "devices", "host", "stated"})
# What a seller may have written into the file: shown as the file's words, never used.
_STATED = frozenset(
    {
        "claim", "claims", "sale_claim", "policy", "verdict", "would_be", "exit_code", "result",
        "assurance", "class", "evidence_class", "condition", "product", "report", "findings",
    }
)  # fmt: skip
_CLAIM_KEYS = frozenset(
    {"id", "status", "value", "source", "call", "raw_code", "raw_text", "time_ms"}
)


# Written by hand, for it is done once a claim: `strict_json.canonical` takes three times as long.
# A test holds this form against it.
_quote = encode_basestring
_SPOKEN = {
    (source, status): f'"source":"{source.value}","status":"{status.value}"'
    for source in Source
    for status in ClaimStatus
}


def _claim_text(claim: Claim) -> str:
    """Write one claim in canonical form, leaving out what has its default."""
    value = claim.value
    if value is None:
        end = "}"
    elif isinstance(value, str):
        end = f',"value":{_quote(value)}}}'
    elif isinstance(value, bool):
        end = ',"value":true}' if value else ',"value":false}'
    else:
        end = f',"value":{value:d}}}'
    call = f'"call":{_quote(claim.call)},' if claim.call else ""
    if claim.raw_code is None and claim.raw_text is None and claim.time_ms is None:
        return f'{{{call}"id":{_quote(claim.id)},{_SPOKEN[claim.source, claim.status]}{end}'
    code = "" if claim.raw_code is None else f'"raw_code":{claim.raw_code:d},'
    text = "" if claim.raw_text is None else f'"raw_text":{_quote(claim.raw_text)},'
    time = "" if claim.time_ms is None else f',"time_ms":{claim.time_ms:d}'
    spoken = _SPOKEN[claim.source, claim.status]
    return f'{{{call}"id":{_quote(claim.id)},{code}{text}{spoken}{time}{end}'


def _claims_text(claims: ClaimSet) -> str:
    """Write claims in canonical form, without the brackets."""
    return ",".join([_claim_text(claim) for claim in claims.claims])


def dump_evidence(evidence: Evidence) -> bytes:
    """Write evidence as canonical JSON with a line end.

    The class is left out: whoever reads the file decides what it is worth.

    Args:
        evidence: What to write.

    Returns:
        UTF-8 bytes; the same evidence always gives the same bytes.
    """
    devices = ",".join(
        [
            f'{{"claims":[{_claims_text(device.claims)}],"index":{device.index:d}}}'
            for device in evidence.devices
        ]
    )
    time = "null" if evidence.collected_ms is None else f"{evidence.collected_ms:d}"
    stated = "[]"
    if evidence.stated:
        stated = strict_json.canonical([[key, words] for key, words in evidence.stated]).decode()
    return (
        f'{{"collected_ms":{time},"devices":[{devices}],"host":[{_claims_text(evidence.host)}],'
        f'"origin":{_quote(evidence.origin)},"schema":"{SCHEMA}","stated":{stated},'
        f'"tool":{_quote(evidence.tool)}}}\n'
    ).encode()


def evidence_sha256(evidence: Evidence) -> str:
    """Return the SHA-256 of the canonical bytes, in hex; independent of the class."""
    return hashlib.sha256(dump_evidence(evidence)).hexdigest()


class _Reader:
    """Strict reading with one sentence for each thing that is wrong."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def fail(self, where: str, message: str) -> FormatError:
        """Build the error for one place in the file."""
        return FormatError(
            self.origin, f"{message}; collect the evidence again with gpuverify", where
        )

    def text(self, value: object, where: str) -> str:
        """Return a string without control or bidi characters."""
        if not isinstance(value, str):
            raise self.fail(where, "has to be a string")
        if not value.isprintable() and any(category(c) in _INVISIBLE for c in value):
            raise self.fail(where, f"invisible characters in {printable(value, 80)!r}")
        return value

    def integer(self, value: object, where: str) -> int | None:
        """Return an integer or None."""
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self.fail(where, "has to be an integer")

    def items(self, value: object, where: str) -> list[Any]:
        """Return a list."""
        if not isinstance(value, list):
            raise self.fail(where, "has to be a list")
        return value

    def claim(self, tree: object, scope: Scope, where: str) -> Claim:
        """Read one claim: known id, right scope, right type, no key too many."""
        if not isinstance(tree, dict):
            raise self.fail(where, "a claim has to be an object")
        if unknown := sorted(set(tree) - _CLAIM_KEYS):
            raise self.fail(where, f"unknown key {printable(unknown[0], 40)!r} in a claim")
        spec = VOCABULARY.get(self.text(tree.get("id"), where + ".id"))
        if spec is None or spec.scope is not scope:
            name = printable(str(tree["id"]), 60)
            raise self.fail(where, f"{name!r} is not a {scope.value} claim that this version knows")
        status = _STATUS.get(self.text(tree.get("status"), where + ".status"))
        source = _SOURCE.get(self.text(tree.get("source"), where + ".source"))
        if status is None or source is None:
            raise self.fail(where, "unknown status or source")
        given = tree.get("value")
        if (given is not None) != (status is ClaimStatus.OK):
            raise self.fail(where, f"status {status.value} does not go with the value")
        if given is not None and type(given) is not spec.type:
            raise self.fail(where, f"{spec.id} has to be of type {spec.type.__name__}")
        value: Value | None = given if isinstance(given, (bool, int, str)) else None
        if isinstance(value, str):
            self.text(value, where + ".value")
        raw = tree.get("raw_text")
        return Claim(
            id=spec.id,
            status=status,
            value=value,
            source=source,
            call=self.text(tree.get("call", ""), where + ".call"),
            raw_code=self.integer(tree.get("raw_code"), where + ".raw_code"),
            raw_text=None if raw is None else self.text(raw, where + ".raw_text"),
            time_ms=self.integer(tree.get("time_ms"), where + ".time_ms"),
        )

    def claims(self, tree: object, scope: Scope, where: str) -> ClaimSet:
        """Read a list of claims; one id and source may stand once."""
        read = tuple(
            self.claim(item, scope, f"{where}[{number}]")
            for number, item in enumerate(self.items(tree, where))
        )
        result = ClaimSet(read)
        if len(result) != len(read):
            raise self.fail(where, "two claims have one id and source")
        return result

    def devices(self, tree: object) -> tuple[DeviceEvidence, ...]:
        """Read the devices; an index may stand once."""
        items = self.items(tree, "devices")
        if len(items) > MAX_DEVICES:
            raise self.fail("devices", f"more than {MAX_DEVICES} devices")
        devices: list[DeviceEvidence] = []
        for number, item in enumerate(items):
            where = f"devices[{number}]"
            if not isinstance(item, dict) or set(item) != {"index", "claims"}:
                raise self.fail(where, "a device has exactly the keys index and claims")
            index = self.integer(item["index"], where + ".index")
            if index is None or not 0 <= index < 2**31:
                raise self.fail(where + ".index", "has to be a small integer, not negative")
            claims = self.claims(item["claims"], Scope.DEVICE, where + ".claims")
            devices.append(DeviceEvidence(index=index, claims=claims))
        if len({device.index for device in devices}) != len(devices):
            raise self.fail("devices", "two devices have one index")
        return tuple(devices)

    def stated(self, tree: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        """Collect what the file says about itself, as words."""
        pairs: list[tuple[str, str]] = []
        for number, item in enumerate(self.items(tree.get("stated", []), "stated")):
            where = f"stated[{number}]"
            pair = self.items(item, where)
            if len(pair) != 2:
                raise self.fail(where, "has to be a pair of strings")
            pairs.append((self.text(pair[0], where), self.text(pair[1], where)))
        for key in sorted(_STATED & set(tree)):
            value = tree[key]
            words = value if isinstance(value, str) else strict_json.canonical(value).decode()
            pairs.append((key, printable(words)))
        return tuple(pairs)


def load_evidence(data: bytes, origin: str) -> Evidence:
    """Read our own evidence strictly; its class is always CARRIED.

    Args:
        data: The file.
        origin: What it was read from, for error messages.

    Returns:
        The evidence. A sale claim, policy or verdict that stands in the file is in `stated`.

    Raises:
        FormatError: Unknown ids, keys, statuses or sources, wrong types, malformed JSON.
    """
    tree = strict_json.loads(data, origin)
    read = _Reader(origin)
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise FormatError(origin, f"not evidence of ours (schema {SCHEMA})")
    if unknown := sorted(set(tree) - _TOP - _STATED):
        raise read.fail("top level", f"unknown key {printable(unknown[0], 40)!r}")
    if missing := sorted({"origin", "tool", "devices", "host"} - set(tree)):
        raise read.fail("top level", f"key {missing[0]!r} is missing")
    return Evidence(
        evidence_class=EvidenceClass.CARRIED,
        origin=read.text(tree["origin"], "origin"),
        tool=read.text(tree["tool"], "tool"),
        collected_ms=read.integer(tree.get("collected_ms"), "collected_ms"),
        devices=read.devices(tree["devices"]),
        host=read.claims(tree["host"], Scope.HOST, "host"),
        stated=read.stated(tree),
    )
