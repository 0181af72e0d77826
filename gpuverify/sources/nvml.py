"""The NVML source: the one module that imports pynvml, and the one NVML session.

NVML is opened once and held while every card is read: without persistence mode each opening
initialises the cards anew, which takes up to half a minute on a server with eight.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gpuverify.codec.limits import MAX_DEVICES
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.nvml_answers import (
    CORRUPTED_INFOROM,
    GPU_IS_LOST,
    LIBRARY_NOT_FOUND,
    RESET_REQUIRED,
    Answer,
    NvmlBinding,
    answer_of_code,
)
from gpuverify.sources.reading import SourceReading

if TYPE_CHECKING:
    from gpuverify.sources.device_certificate import AttestationMode
    from gpuverify.sources.nvml_claims import Collector

Progress = Callable[[str], None]
NonceFor = Callable[[str], bytes]


def wall_clock_ms() -> int:
    """Return the time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class NvmlSession:
    """NVML, opened once and held.

    Use it as a context manager; a failed opening raises nothing and stands in `opening`.

    Attributes:
        opening: How NVML answered when it was opened.
        binding: The binding to ask, None where it could not be opened.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        *,
        clock: Callable[[], int] = wall_clock_ms,
        nonce_for: NonceFor | None = None,
    ) -> None:
        """Prepare a session without touching anything.

        Args:
            progress: Called with one line where the next step may take long.
            clock: Gives the time that claims carry, in milliseconds.
            nonce_for: Gives the 32 bytes that the card with a UUID is asked to sign; None for
                random ones.
        """
        self.opening = Answer(call="nvmlInit", status=ClaimStatus.NOT_ASKED)
        self.binding: NvmlBinding | None = None
        self._progress = progress
        self._clock = clock
        self._nonce_for = nonce_for
        self._attestation: AttestationMode | None = None
        self._module_file: str | None = None

    def __enter__(self) -> NvmlSession:  # noqa: PYI034 - typing.Self needs Python 3.11
        """Load the binding and open NVML."""
        module = self._load()
        if module is None:
            self.opening = Answer(
                call="import pynvml",
                status=ClaimStatus.NOT_FOUND,
                text="the Python module pynvml (distribution nvidia-ml-py) cannot be imported",
            )
            return self
        self._say("opening NVML (up to 30 s without persistence mode)")
        binding = NvmlBinding(module)
        answer = binding.ask("nvmlInit")
        if answer.ok:
            self.binding = binding
        elif answer.code == LIBRARY_NOT_FOUND:
            answer = Answer(
                call="nvmlInit",
                status=ClaimStatus.NOT_FOUND,
                code=LIBRARY_NOT_FOUND,
                text="the NVML library (libnvidia-ml.so.1, nvml.dll) is not there or not loadable",
            )
        self.opening = answer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close NVML; how that ends matters to nobody any more."""
        if self.binding is not None:
            self.binding.ask("nvmlShutdown")
            self.binding = None

    def _load(self) -> Any:
        """Import the binding, None where that fails."""
        import warnings

        try:
            with warnings.catch_warnings():
                # The distribution pynvml 13 prints a FutureWarning at every import of the module.
                warnings.simplefilter("ignore", FutureWarning)
                import pynvml
        except (ImportError, SyntaxError):
            return None
        self._module_file = getattr(pynvml, "__file__", None)
        return pynvml

    def _say(self, line: str) -> None:
        """Report progress, if somebody listens."""
        if self._progress is not None:
            self._progress(line)

    def host_claims(self) -> list[Claim]:
        """Return the claims about binding, session, driver and library."""
        from gpuverify.sources.binding import binding_claims, find_binding

        now = self._clock()
        claims = [
            _session_claim("source.nvml", self.opening, now),
            _session_claim("nvml.session", self.opening, now),
            *binding_claims(find_binding(self._module_file), now),
        ]
        if self.binding is None:
            return claims
        from gpuverify.sources.nvml_claims import Collector
        from gpuverify.sources.nvml_table import HOST_READS

        out = Collector(self.binding, None, now)
        for read in HOST_READS:
            out.run(read)
        from gpuverify.sources.device_certificate import read_mode

        self._attestation = read_mode(out)
        return claims + out.claims()

    def read(self) -> SourceReading:
        """Read everything: host, then each card that NVML counts."""
        reading = SourceReading(host=self.host_claims())
        if self.binding is None:
            return reading
        from gpuverify.sources import nvml_values as v
        from gpuverify.sources.nvml_claims import Collector

        out = Collector(self.binding, None, self._clock())
        count = self.binding.ask("nvmlDeviceGetCount")
        if not count.ok:
            out.refuse("host.attached_gpu_count", count)
            reading.host += out.claims()
            return reading
        out.put("host.attached_gpu_count", v.number(count.value), count)
        reading.host += out.claims()
        # A forged count must not keep us busy; the claim above holds it as it stood.
        listed = min(int(count.value), MAX_DEVICES)
        for index in range(listed):
            self._say(f"reading GPU {index + 1} of {listed} with NVML")
            key, claims = self.device_claims(index)
            # Two cards at one address (a forged library): the second keeps its own entry.
            reading.devices[key if key and key not in reading.devices else f"?{index}"] = claims
        return reading

    def device_claims(self, index: int) -> tuple[str | None, list[Claim]]:
        """Read one card.

        Args:
            index: NVML's index.

        Returns:
            The bus id, None if it is not readable, and the claims. A card that gives no handle
            yields the claims that say why.
        """
        from gpuverify.sources.nvml_claims import Collector

        if self.binding is None:
            msg = "NVML is not open"
            raise RuntimeError(msg)
        listed = Answer(call="nvmlDeviceGetCount", status=ClaimStatus.OK, code=0)
        handle = self.binding.ask("nvmlDeviceGetHandleByIndex", index)
        out = Collector(self.binding, handle.value, self._clock())
        out.put("gpu.listed_by_nvml", True, listed)
        if not handle.ok:
            _put_handle_failure(out, handle)
            return None, out.claims()
        out.put("gpu.responding", True, handle)
        bus_id = _read_device(out)
        return bus_id, out.claims() + self._signed_claims(out)

    def _signed_claims(self, out: Collector) -> list[Claim]:
        """Ask a card to sign what it is, where the driver can."""
        if self._attestation is None or self.binding is None:
            return []
        from gpuverify.sources.device_certificate import read_attestation

        return read_attestation(
            self.binding,
            out.handle,
            self._attestation,
            uuid=str(out.value("gpu.uuid") or ""),
            nonce_for=self._nonce_for,
            time_ms=self._clock(),
        )


def _put_handle_failure(out: Collector, handle: Answer) -> None:
    """Say why a listed card gives no handle.

    Args:
        out: Collector of the card.
        handle: The failed answer.
    """
    out.note(handle)
    if handle.code == GPU_IS_LOST:
        out.put("gpu.responding", False, handle, handle.text)
    else:
        out.refuse("gpu.responding", handle)
    for claim in ("pci.bus_id", "gpu.name", "gpu.uuid", "gpu.serial"):
        out.refuse(claim, handle)
    _put_conditions(out)


def _read_device(out: Collector) -> str | None:
    """Do every read of one card and return its bus id.

    Args:
        out: Collector of the card.
    """
    from gpuverify.sources import nvml_links as links
    from gpuverify.sources import nvml_mig as mig
    from gpuverify.sources import nvml_structs as structs
    from gpuverify.sources.nvml_table import DEVICE_READS

    bus_id = structs.read_pci(out)
    structs.read_memory(out)
    for read in DEVICE_READS:
        out.run(read)
    for step in (
        structs.read_inforom,
        structs.read_retired,
        links.read_fields,
        structs.read_sram,
        structs.read_unrepairable,
        structs.read_bank_remap,
        structs.read_platform,
        structs.read_fabric,
        links.read_links,
        mig.read_mig_profiles,
        mig.read_mig_devices,
    ):
        step(out)
    _put_conditions(out)
    return bus_id


def _put_conditions(out: Collector) -> None:
    """Set what return codes say by themselves: lost, reset required, InfoROM corrupted.

    Args:
        out: Collector of the card, all reads done.
    """
    for code, claim, value in (
        (GPU_IS_LOST, "gpu.responding", False),
        (RESET_REQUIRED, "gpu.reset_required", True),
        (CORRUPTED_INFOROM, "inforom.valid", False),
    ):
        call = out.codes.get(code)
        if call is not None:
            out.override(claim, value, answer_of_code(call, code))


def _session_claim(claim_id: str, opening: Answer, time_ms: int) -> Claim:
    """Write how the opening went.

    Args:
        claim_id: Id from the vocabulary.
        opening: The answer of the opening.
        time_ms: Time that the claim carries.
    """
    return Claim(
        id=claim_id,
        status=opening.status,
        value="ok" if opening.ok else None,
        source=Source.NVML,
        call=opening.call,
        raw_code=opening.code or None,
        raw_text=opening.text,
        time_ms=time_ms,
    )


def read_nvml(
    progress: Progress | None = None,
    *,
    clock: Callable[[], int] = wall_clock_ms,
    nonce_for: NonceFor | None = None,
) -> SourceReading:
    """Open NVML, read everything and close it; nothing is raised where it is not there.

    Args:
        progress: Called with one line where the next step may take long.
        clock: Gives the time that claims carry, in milliseconds.
        nonce_for: Gives the 32 bytes that the card with a UUID is asked to sign; None for random
            ones.
    """
    with NvmlSession(progress, clock=clock, nonce_for=nonce_for) as session:
        return session.read()
