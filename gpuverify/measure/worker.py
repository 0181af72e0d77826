"""The child that touches one card: `python -m gpuverify.measure.worker`.

It reads one request, opens one device and runs the tasks in order. Before each step it writes a
line to its state file, so that whatever happens to it, its device or its host, what it was doing
and what it had found lies on disk. It prints nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from gpuverify.errors import GpuverifyError, UsageError
from gpuverify.measure.driver_api import Driver, DriverError, DriverStatus, OpenDevice
from gpuverify.measure.progress import Progress
from gpuverify.measure.reference import Keys

EXIT_DONE = 0
EXIT_FAILED = 1

# Each task is a function of a module: (device, keys, plan as JSON, talk) -> evidence as JSON.
TASKS = {
    "attributes": ("gpuverify.measure.attributes", "run"),
    "capacity": ("gpuverify.measure.capacity_task", "run"),
    "fingerprint": ("gpuverify.measure.fingerprint_task", "run"),
    "peers": ("gpuverify.measure.fingerprint_peer", "run"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a child is asked to do.

    Attributes:
        uuid: UUID of the device as CUDA or NVML prints it, "" for any.
        pci_bus_id: PCI bus id of the device, "" for any.
        nonce: Nonce of the run, in hex.
        tasks: Name and plan of each task, in order.
        library: CUDA library to load, "" for the driver's own.
        gated: Whether to wait at each gate for a line on standard input.
    """

    uuid: str = ""
    pci_bus_id: str = ""
    nonce: str
    tasks: tuple[tuple[str, Mapping[str, Any]], ...]
    library: str = ""
    gated: bool = False

    def to_json(self) -> str:
        """Return the request as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read a request.

        Raises:
            UsageError: It is none.
        """
        try:
            data = json.loads(text)
            tasks = tuple((str(name), dict(plan)) for name, plan in data.pop("tasks"))
            request = cls(tasks=tasks, **data)
            bytes.fromhex(request.nonce)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"the worker was asked for something else: {error}") from None
        return request


class State:
    """The file of JSON lines that outlives the child."""

    def __init__(self, stream: IO[str]) -> None:
        """Write to an open text stream."""
        self._stream = stream
        self._phase = ""

    def write(self, event: str, **values: Any) -> None:
        """Append one line; a new phase also reaches the disk before it begins."""
        line = {"event": event, "at_ms": time.time_ns() // 1_000_000, **values}
        self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._stream.flush()
        phase = str(values.get("phase", event))
        if phase != self._phase:
            self._phase = phase
            with contextlib.suppress(OSError):
                os.fsync(self._stream.fileno())


class Talk:
    """How a task speaks to the parent."""

    def __init__(self, state: State, task: str, answers: IO[str] | None) -> None:
        """Speak for a task.

        Args:
            state: Where to write.
            task: Name of the task.
            answers: Where a gate waits for a line, None for not at all.
        """
        self._state = state
        self._task = task
        self._answers = answers

    def report(self, progress: Progress) -> None:
        """Say how far the task is."""
        self._state.write("progress", task=self._task, **asdict(progress))

    def gate(self, name: str) -> None:
        """Say that a point is reached, and wait there if the parent wants it so."""
        self._state.write("gate", task=self._task, gate=name)
        # A parent that is gone answers with the end of the file, which opens the gate too.
        if self._answers is not None:
            self._answers.readline()

    def keep(self, evidence: Mapping[str, Any]) -> None:
        """Keep what is known so far."""
        self._state.write("partial", task=self._task, evidence=evidence)


Task = Callable[[OpenDevice, Keys, Mapping[str, Any], Talk], Mapping[str, Any]]


def bus_id_key(text: str) -> tuple[int, ...]:
    """Return a PCI bus id as numbers, so that 4 and 8 digits of domain compare equal."""
    try:
        return tuple(int(part, 16) for part in text.replace(".", ":").split(":"))
    except ValueError:
        return ()


def find_device(driver: Driver, uuid: str, pci_bus_id: str) -> int:
    """Return the ordinal of a device.

    Args:
        driver: The driver.
        uuid: Its UUID, "" for any.
        pci_bus_id: Its PCI bus id, "" for any.

    Raises:
        DriverError: CUDA sees no such device.
    """
    for ordinal in range(driver.device_get_count()):
        handle = driver.device_get(ordinal)
        # A MIG instance has the bus id of its GPU and a UUID of its own prefix.
        seen = driver.device_get_uuid(handle).partition("-")[2]
        if uuid and seen.lower() != uuid.partition("-")[2].lower():
            continue
        bus_id = driver.device_get_pci_bus_id(handle)
        if pci_bus_id and bus_id_key(bus_id) != bus_id_key(pci_bus_id):
            continue
        return ordinal
    raise DriverError(DriverStatus.BAD_DEVICE, 101, "cuDeviceGet", f"{uuid or pci_bus_id}")


def run(request: Request, state: State, answers: IO[str] | None) -> int:
    """Carry out a request.

    Args:
        request: What to do.
        state: Where to write what happens.
        answers: Where gates wait.

    Returns:
        The exit code of the child.
    """
    state.write("started", pid=os.getpid())
    try:
        driver = Driver.load(request.library or None)
        ordinal = find_device(driver, request.uuid, request.pci_bus_id)
        with OpenDevice.open(driver, ordinal) as device:
            state.write(
                "opened",
                ordinal=ordinal,
                name=device.name,
                uuid=device.uuid,
                pci_bus_id=device.pci_bus_id,
                total_bytes=device.total_bytes,
            )
            for name, plan in request.tasks:
                run_task(name, plan, device, request, state, answers)
    except DriverError as error:
        state.write(
            "failed",
            status=error.status.value,
            code=error.code,
            call=error.call,
            message=str(error),
        )
        return EXIT_FAILED
    except GpuverifyError as error:
        state.write("failed", status="refused", code=0, call="", message=str(error))
        return EXIT_FAILED
    state.write("done")
    return EXIT_DONE


def run_task(
    name: str,
    plan: Mapping[str, Any],
    device: OpenDevice,
    request: Request,
    state: State,
    answers: IO[str] | None,
) -> None:
    """Run one task and write its evidence.

    Raises:
        UsageError: There is no such task.
    """
    if name not in TASKS:
        raise UsageError(f"no such measurement: {name}")
    module, function = TASKS[name]
    task: Task = getattr(importlib.import_module(module), function)
    nonce = bytes.fromhex(request.nonce)
    keys = Keys.derive(nonce, device.uuid, device.pci_bus_id, name)
    talk = Talk(state, name, answers if request.gated else None)
    state.write("task", task=name)
    state.write("evidence", task=name, evidence=task(device, keys, plan, talk))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the child: the request as a line on standard input, the state file as the argument."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    with Path(path).open("a", encoding="ascii") as stream:
        state = State(stream)
        try:
            request = Request.from_json(sys.stdin.readline())
        except UsageError as error:
            state.write("failed", status="refused", code=0, call="", message=str(error))
            return EXIT_FAILED
        return run(request, state, sys.stdin)


if __name__ == "__main__":
    sys.exit(main())
