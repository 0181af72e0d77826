"""Collecting the claims of one device (or the host) out of NVML's answers."""

from __future__ import annotations

from typing import Any

from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.sources.nvml_answers import Answer, NvmlBinding, code_name
from gpuverify.sources.nvml_table import Read
from gpuverify.sources.nvml_values import Item, Odd, malformed


class Collector:
    """Claims by id, each with its first value, or else with its first reason."""

    def __init__(self, binding: NvmlBinding, handle: Any, time_ms: int) -> None:
        """Collect for one handle.

        Args:
            binding: The binding to ask.
            handle: Device handle, None for the host.
            time_ms: Time that the claims carry.
        """
        self.binding = binding
        self.handle = handle
        self.codes: dict[int, str] = {}
        self._time_ms = time_ms
        self._claims: dict[str, Claim] = {}

    def claims(self) -> list[Claim]:
        """Return what was collected, in the order of first mention."""
        return list(self._claims.values())

    def value(self, claim_id: str) -> Value | None:
        """Return a value collected so far, or None."""
        claim = self._claims.get(claim_id)
        return None if claim is None else claim.value

    def note(self, answer: Answer) -> Answer:
        """Remember an answer's return code, with the call that gave it first, and pass it on."""
        if answer.code:
            self.codes.setdefault(answer.code, answer.call)
        return answer

    def put(self, claim_id: str, item: Item, answer: Answer, raw_text: str | None = None) -> None:
        """Add what one answer says about one claim.

        Args:
            claim_id: Id from the vocabulary.
            item: The value, or why it is none although the call succeeded.
            answer: The call that it came from.
            raw_text: What stood there, where the value is not that one to one.
        """
        if isinstance(item, Odd):
            self._keep(claim_id, item.status, None, answer, item.text)
        else:
            self._keep(claim_id, ClaimStatus.OK, item, answer, raw_text)

    def refuse(self, claim_id: str, answer: Answer) -> None:
        """Add the reason why a call gave no value.

        Args:
            claim_id: Id from the vocabulary.
            answer: An answer that is not OK.
        """
        self._keep(claim_id, answer.status, None, answer, answer.text)

    def override(self, claim_id: str, value: Value, answer: Answer) -> None:
        """Set a value whatever was collected before, for what a return code itself says.

        Args:
            claim_id: Id from the vocabulary.
            value: The value.
            answer: The call whose return code says it.
        """
        self._claims.pop(claim_id, None)
        self._keep(claim_id, ClaimStatus.OK, value, answer, answer.text)

    def _keep(
        self,
        claim_id: str,
        status: ClaimStatus,
        value: Value | None,
        answer: Answer,
        raw_text: str | None,
    ) -> None:
        """Keep a claim unless an earlier one stands: the first value, else the first reason."""
        earlier = self._claims.get(claim_id)
        if earlier is not None and (earlier.ok or status is not ClaimStatus.OK):
            return
        self._claims[claim_id] = Claim(
            id=claim_id,
            status=status,
            value=value,
            source=Source.NVML,
            call=answer.call,
            raw_code=answer.code or None,
            raw_text=raw_text,
            time_ms=self._time_ms,
        )

    def ask(self, name: str, *arguments: Any, **keywords: Any) -> Answer:
        """Call a wrapper on the handle and remember its return code.

        Args:
            name: The wrapper.
            *arguments: Arguments after the handle.
            **keywords: Keyword arguments.
        """
        return self.note(self.binding.ask(name, self.handle, *arguments, **keywords))

    def run(self, read: Read) -> None:
        """Do one row of a table.

        Args:
            read: The row.
        """
        handle = () if self.handle is None else (self.handle,)
        answer = self.note(self.binding.ask_first(read.names, *handle, *read.arguments()))
        if not answer.ok:
            for claim_id in read.ids:
                self.refuse(claim_id, answer)
            return
        for claim_id, item in zip(read.ids, adapted(read, answer.value), strict=True):
            self.put(claim_id, item, answer)


def adapted(read: Read, value: Any) -> tuple[Item, ...]:
    """Apply a row's adapter; a result of an unforeseen shape is malformed, not a fault of ours.

    Args:
        read: The row.
        value: What the binding returned.
    """
    try:
        items = read.adapter(value)
    except UnicodeDecodeError as error:
        from gpuverify.sources.nvml_answers import escaped_bytes

        return (malformed(escaped_bytes(bytes(error.object))),) * len(read.ids)
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        return (malformed(f"unforeseen result: {error}"[:200]),) * len(read.ids)
    if len(items) != len(read.ids):
        return (malformed(f"{len(items)} values instead of {len(read.ids)}"),) * len(read.ids)
    return items


def named(code: int) -> str:
    """Name a return code found inside a structure; 0 reads "Success"."""
    return "Success" if code == 0 else code_name(code)
