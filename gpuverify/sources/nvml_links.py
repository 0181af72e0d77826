"""Field values in batches, and NVLink, which is read link by link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuverify.model.claims import ClaimStatus
from gpuverify.sources import nvml_values as v
from gpuverify.sources.nvml_answers import (
    GPU_IS_LOST,
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    Answer,
    answer_of_code,
)
from gpuverify.sources.nvml_claims import Collector
from gpuverify.sources.nvml_table import DEVICE_FIELDS

_BATCH = 64
"""Fields a call; all that is asked of one card fits two or three."""

_MAX_LINKS = 36
"""NVML_NVLINK_MAX_LINKS of the newest binding seen; an older driver refuses the higher links."""

_SPEED, _SPEED_COMMON = 164, 90
_REPLAY, _RECOVERY, _CRC = 161, 162, 163
_TOTALS = {_REPLAY: (52,), _RECOVERY: (59,), _CRC: (38, 45)}
"""Sums over all links that NVML forms itself (up to Ampere) in place of the per-link counters."""

_COUNTERS = (
    ("nvlink.replay_error_count", _REPLAY, (0,)),
    ("nvlink.recovery_error_count", _RECOVERY, (1,)),
    ("nvlink.crc_error_count", _CRC, (2, 3)),
)
"""Claim, per-link field, and the counters of nvmlDeviceGetNvLinkErrorCounter that mean the same."""


def _field_value(entry: Any) -> int | None:
    """Take the number out of a field's union by its type; None for a double or a new type."""
    names = {1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
    name = names.get(int(entry.valueType))
    return None if name is None else int(getattr(entry.value, name))


def field_values(
    out: Collector, wanted: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Answer]:
    """Read many fields in few calls.

    Args:
        out: Collector of the device.
        wanted: Field numbers with their scope (a link, else 0).

    Returns:
        One answer a field, whose value is a number.
    """
    answers: dict[tuple[int, int], Answer] = {}
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        answer = out.ask("nvmlDeviceGetFieldValues", list(batch))
        if not answer.ok:
            answers.update(dict.fromkeys(batch, answer))
            continue
        for key, entry in zip(batch, answer.value, strict=False):
            call = f"nvmlDeviceGetFieldValues({key[0]},{key[1]})"
            value = _field_value(entry)
            found = answer_of_code(call, int(entry.nvmlReturn), value)
            if found.ok and value is None:
                found = Answer(
                    call=call,
                    status=ClaimStatus.MALFORMED,
                    code=0,
                    text=f"value type {entry.valueType}",
                )
            answers[key] = found
    return answers


def read_fields(out: Collector) -> None:
    """Read the table of single field values in one call."""
    answers = field_values(out, [(row.field, 0) for row in DEVICE_FIELDS])
    for row in DEVICE_FIELDS:
        answer = answers[(row.field, 0)]
        if answer.ok:
            out.put(row.claim, row.adapter(answer.value), answer)
        else:
            out.refuse(row.claim, answer)


def read_links(out: Collector) -> None:
    """Count the links that exist and that are up, and read their speed and error counters.

    A link exists where NVML gives it a state, up or not; "not supported" means that the chip or
    its fuses leave it out. A card without any is "not supported", not zero: with MIG on, or on an
    old driver, links are hidden, and a hidden link is no missing one.
    """
    states: dict[int, bool] = {}
    refusal: Answer | None = None
    for link in range(_MAX_LINKS):
        answer = out.ask("nvmlDeviceGetNvLinkState", link)
        if answer.ok:
            states[link] = int(answer.value) == 1
            continue
        if answer.code != INVALID_ARGUMENT:
            refusal = refusal or answer
        # Past the last link NVML says "invalid argument"; a card that is gone answers no more.
        if answer.code != NOT_SUPPORTED:
            break
    ids = ("nvlink.link_count", "nvlink.active_count", "nvlink.link_speed_kb_s", "nvlink.version")
    if not states or (refusal is not None and refusal.code != NOT_SUPPORTED):
        reason = refusal or Answer(
            call="nvmlDeviceGetNvLinkState",
            status=ClaimStatus.NOT_SUPPORTED,
            code=INVALID_ARGUMENT,
            text="link 0 is no valid argument",
        )
        for claim in (*ids, *(row[0] for row in _COUNTERS)):
            out.refuse(claim, reason)
        return
    state = Answer(call="nvmlDeviceGetNvLinkState", status=ClaimStatus.OK, code=0)
    out.put("nvlink.link_count", len(states), state)
    out.put("nvlink.active_count", sum(states.values()), state)
    version = out.ask("nvmlDeviceGetNvLinkVersion", min(states))
    if version.ok:
        out.put("nvlink.version", v.number(version.value), version)
    else:
        out.refuse("nvlink.version", version)
    _read_speed_and_errors(out, sorted(states))


def _read_speed_and_errors(out: Collector, links: list[int]) -> None:
    """Read all per-link fields in batches.

    Args:
        out: Collector of the device.
        links: The links that exist.
    """
    totals = [(field, 0) for fields in _TOTALS.values() for field in fields]
    scoped = [(field, link) for field in (_SPEED, *_TOTALS) for link in links]
    answers = field_values(out, [(_SPEED_COMMON, 0), *totals, *scoped])
    speeds = [answers[(_SPEED, link)] for link in links] + [answers[(_SPEED_COMMON, 0)]]
    known = [answer for answer in speeds if answer.ok and answer.value not in (0, *v.ALL_ONES)]
    if known:
        fastest = max(known, key=lambda answer: int(answer.value))
        # NVML counts in MB/s of 10^6 bytes: 26562 for a link of 26.562 GB/s.
        out.put("nvlink.link_speed_kb_s", v.times(1000)(fastest.value), fastest)
    elif speeds[0].ok:
        down = v.Odd(status=ClaimStatus.NOT_FOUND, text="no link reports a speed")
        out.put("nvlink.link_speed_kb_s", down, speeds[0])
    else:
        out.refuse("nvlink.link_speed_kb_s", speeds[0])
    for claim, field, counters in _COUNTERS:
        per_link = [answers[(field, link)] for link in links]
        over_all = [answers[(total, 0)] for total in _TOTALS[field]]
        if not (_put_sum(out, claim, over_all, whole=True) or _put_sum(out, claim, per_link)):
            _put_old_counters(out, claim, links, counters, per_link[0])


def _put_sum(out: Collector, claim: str, parts: list[Answer], *, whole: bool = False) -> bool:
    """Put a sum of counters; links that are down may refuse theirs.

    Args:
        out: Collector of the device.
        claim: Claim id.
        parts: The counters.
        whole: Whether every part has to be there.

    Returns:
        Whether there was a sum.
    """
    known = [part for part in parts if part.ok and not isinstance(v.number(part.value), v.Odd)]
    if not known or (whole and len(known) < len(parts)):
        return False
    out.put(claim, v.number(sum(int(part.value) for part in known)), known[0])
    return True


def _put_old_counters(
    out: Collector, claim: str, links: list[int], counters: tuple[int, ...], reason: Answer
) -> None:
    """Sum the counters of the call that drivers had before the fields.

    Args:
        out: Collector of the device.
        claim: Claim id.
        links: The links that exist.
        counters: The call's counter numbers.
        reason: Why the fields gave nothing.
    """
    if reason.code == GPU_IS_LOST:
        out.refuse(claim, reason)
        return
    parts = [
        out.ask("nvmlDeviceGetNvLinkErrorCounter", link, counter)
        for link in links
        for counter in counters
    ]
    if not _put_sum(out, claim, parts):
        out.refuse(claim, parts[0] if reason.missing else reason)
