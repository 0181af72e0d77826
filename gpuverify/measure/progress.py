"""What a running measurement says about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one card's measurement is.

    Attributes:
        phase: What is being done, e.g. "write-a".
        done_bytes: Bytes of this phase that are done.
        total_bytes: Bytes of this phase in all, 0 where it does not count bytes.
        rate_kb_s: Rate of the last step in kB/s, 0 where there is none.
        temperature_celsius: Temperature of the GPU, None where nobody asked.
        offset_bytes: Where in the tested memory the next step works, None where it does not.
    """

    phase: str
    done_bytes: int
    total_bytes: int
    rate_kb_s: int
    temperature_celsius: int | None = None
    offset_bytes: int | None = None
