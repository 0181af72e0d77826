"""What the board carries: its identity key, and its power limits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpuverify.model.claims import Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.keeping import kept_if_short
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    NO_PRODUCT,
    NO_REFERENCE,
    NO_VALUE,
    NOT_FOR_PRODUCT,
    absent,
    basis_of,
    cite,
    finding,
    says,
)
from gpuverify.rules.on_file import on_file

_SEQUENCES = ("01234567890123456789", "98765432109876543210")


def good_serial(claim: Claim) -> str | None:
    """Return a serial number; None where it is absent, masked or a placeholder."""
    return _good_serial(claim.value.strip()) if isinstance(claim.value, str) else None


@kept_if_short(1024)
def _good_serial(text: str) -> str | None:
    """Return a serial number, None for a placeholder."""
    digits = re.sub(r"[^0-9A-Za-z]", "", text)
    if len(digits) < 5 or len(set(digits)) < 3 or re.search(r"[*?]|X{3,}", text, re.IGNORECASE):
        return None
    if any(digits in sequence for sequence in _SEQUENCES):
        return None
    # A maker's prefix, a run of zeros and a counter: what people write over real numbers.
    if re.fullmatch(r"\d{1,4}0{6,}\d{1,3}", digits):
        return None
    return text


def good_key(claim: Claim) -> str | None:
    """Return a UUID or PDI in one spelling; None where it is absent, masked or a placeholder."""
    return _good_key(claim.value.strip()) if isinstance(claim.value, str) else None


@kept_if_short(1024)
def _good_key(text: str) -> str | None:
    """Return a key in one spelling, None for a placeholder."""
    body = re.sub(r"^(GPU-|0x)|-", "", text, flags=re.IGNORECASE).upper()
    if not re.fullmatch(r"[0-9A-F]{8,40}", body) or len(set(body)) < 4:
        return None
    # Masked read-outs keep the shape and blank the first group.
    if body.startswith("00000000") and len(body) > 16:
        return None
    return body


def _check_key(subject: Subject) -> Iterator[Finding]:
    """Say which of UUID, serial number and PDI can tell this card again."""
    rule = KEY
    uuid, serial = subject.read("gpu.uuid"), subject.read("gpu.serial")
    pdi = subject.read("gpu.pdi")
    named, held = [], []
    if good_key(uuid):
        named, held = ["uuid"], [uuid]
    if good_serial(serial):
        named.append("serial")
        held.append(serial)
    if good_key(pdi):
        named.append("pdi")
        held.append(pdi)
    if held:
        yield finding(
            rule,
            "held" if named[0] == "uuid" and len(held) > 1 else "partial",
            observed=", ".join(named),
            basis=basis_of(*held),
            claims=cite(*held),
        )
    elif present := [claim for claim in (uuid, serial, pdi) if claim.ok]:
        yield finding(
            rule, "placeholder", observed=" and ".join(says(c) for c in present),
            claims=cite(*present),
        )  # fmt: skip
    else:
        yield absent(rule, uuid, serial, pdi)


KEY = Rule(
    id="identity.key",
    title="What tells this card again: UUID, serial number, PDI",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="held", outcome=Outcome.PASS, text="The card can be told again by {observed}."),
        Code(
            id="partial",
            outcome=Outcome.INCONCLUSIVE,
            text="The card can be told again by {observed} alone.",
        ),
        Code(
            id="placeholder",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}: masked, or a placeholder. The card cannot be told again by it.",
        ),
        NO_VALUE,
    ),
    shows="The read-out names one card, so that a later one can be held against it.",
    limit="Serial number and UUID stand in writable memory; the PDI is read from fuses, but "
    "through the driver.",
    near_miss="Consumer boards print no serial number; owners mask what they publish.",
    references=("nvml.h, nvmlDeviceGetSerial, nvmlDeviceGetUUID, nvmlDeviceGetPdi",),
    check=_check_key,
)


def _check_power(subject: Subject) -> Iterator[Finding]:
    """Compare the default power limit; a difference is a remark."""
    rule, product = POWER, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    if not product.has("datacenter"):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    claim = subject.read("power.limit_default_mw")
    if not isinstance(claim.value, int):
        yield absent(rule, claim)
        return
    watts, own = claim.value // 1000, on_file(subject, "power.limit_default_w", "W")
    said = says(claim, f"{watts} W as the default limit")
    code = "no-reference"
    if own.values:
        code = "own-value" if watts in own.numbers else "other"
    yield finding(
        rule,
        code,
        observed=said,
        expected=own.shown or product.name,
        basis=basis_of(claim),
        claims=cite(claim),
        reference=own.cited,
    )


POWER = Rule(
    id="identity.power",
    title="Default power limit against the product's",
    axis=Axis.CONFIGURATION,
    group=Group.CONFIGURATION,
    codes=(
        Code(id="own-value", outcome=Outcome.PASS, text="{observed}."),
        Code(
            id="other",
            outcome=Outcome.NOTE,
            text="{observed}; on file: {expected}. The board sets it: a remark, no contradiction.",
        ),
        NO_VALUE,
        NO_REFERENCE,
        NO_PRODUCT,
        NOT_FOR_PRODUCT,
    ),
    shows="The board has a power limit that was seen on the product.",
    limit="Boards of one product differ; it decides nothing.",
    near_miss="An A100 80 GB whose board defaults to 500 W, an H100 NVL at 310 W.",
    references=("nvml.h, nvmlDeviceGetPowerManagementDefaultLimit",),
    check=_check_power,
)

RULES = (KEY, POWER)
