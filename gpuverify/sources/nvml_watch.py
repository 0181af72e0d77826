"""Looking at cards through NVML while they are measured."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from gpuverify.model.telemetry import Sample
from gpuverify.sources import nvml_values
from gpuverify.sources.nvml import NvmlSession

_TEMPERATURE_GPU = 0
_MEMORY_TEMPERATURE_FIELD = 82


class NvmlWatch:
    """One NVML session that is held as long as cards are measured; used as a context manager."""

    def __init__(self) -> None:
        """Prepare without touching anything."""
        self._session = NvmlSession()
        self._handles: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> NvmlWatch:  # noqa: PYI034 - typing.Self needs Python 3.11
        """Open NVML; where it does not open, samples stay empty."""
        self._session.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close NVML."""
        self._session.__exit__(kind, error, trace)

    def sample(self, bus_id: str) -> Sample:
        """Look at a card once.

        Args:
            bus_id: Its PCI bus id.
        """
        with self._lock:
            handle = self._handle(bus_id)
            if handle is None:
                return Sample()
            processes = self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
            reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
            if reasons is None:
                reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
            words = None if reasons is None else nvml_values.event_reasons(reasons)
            memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
            return Sample(
                power_mw=self._number("nvmlDeviceGetPowerUsage", handle),
                temperature_celsius=self._number(
                    "nvmlDeviceGetTemperature", handle, _TEMPERATURE_GPU
                ),
                memory_celsius=self._memory_temperature(handle),
                used_bytes=None if memory is None else int(memory.used),
                processes=None if processes is None else len(processes),
                reasons=words if isinstance(words, str) else None,
                link_generation=self._number("nvmlDeviceGetCurrPcieLinkGeneration", handle),
                link_width=self._number("nvmlDeviceGetCurrPcieLinkWidth", handle),
            )

    def _handle(self, bus_id: str) -> Any:
        """Return the card's handle, None where NVML has none."""
        if bus_id not in self._handles:
            self._handles[bus_id] = self._ask("nvmlDeviceGetHandleByPciBusId", bus_id.encode())
        return self._handles[bus_id]

    def _ask(self, name: str, *arguments: Any) -> Any:
        """Call one function; None for whatever is no answer."""
        binding = self._session.binding
        if binding is None:
            return None
        answer = binding.ask(name, *arguments)
        return answer.value if answer.ok else None

    def _number(self, name: str, *arguments: Any) -> int | None:
        """Call a function that gives a number."""
        value = self._ask(name, *arguments)
        return int(value) if isinstance(value, int) else None

    def _memory_temperature(self, handle: Any) -> int | None:
        """Return the temperature of the memory."""
        values = self._ask("nvmlDeviceGetFieldValues", handle, [_MEMORY_TEMPERATURE_FIELD])
        if not values or getattr(values[0], "nvmlReturn", 1) != 0:
            return None
        found = int(values[0].value.uiVal)
        return found if 0 < found < 200 else None
