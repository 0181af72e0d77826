"""Processes that verify: a few chunks ahead of what is written, in order, replaced if they die."""

from __future__ import annotations

import gc
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress

from gpuverify.cli.boundary import Failure
from gpuverify.cli.verify_outcome import Outcome, Unit, failed, unread, verify_and_lay_out
from gpuverify.cli.verifying import Asked, Bench, open_bench
from gpuverify.errors import GpuverifyError

SERIAL_UNITS = 24
"""Below this many, starting processes takes longer than verifying."""

CHUNK_UNITS = 32
CHUNK_BYTES = 4 * 2**20
"""What goes to a process at once."""


def cores() -> int:
    """Return how many cores this process may use."""
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def laid_out(
    units: Iterable[Unit | GpuverifyError],
    asked: Asked,
    bench: Bench,
    form: str,
    processes: int,
) -> Iterator[tuple[Unit, list[Outcome]]]:
    """Verify units here while they are few, then in processes."""
    rest = iter(units)
    for number, unit in enumerate(rest, 1):
        yield _here(unit, bench, form, whole=number == 1)
        if number >= SERIAL_UNITS and processes > 1:
            break
    yield from _pooled(rest, asked, bench, form, processes)


def _here(
    unit: Unit | GpuverifyError, bench: Bench, form: str, *, whole: bool = False
) -> tuple[Unit, list[Outcome]]:
    """Verify one unit in this process."""
    if isinstance(unit, GpuverifyError):
        return (), [unread(unit, form)]
    return unit, verify_and_lay_out(unit, bench, form, whole=whole)


def _chunks(units: Iterator[Unit | GpuverifyError]) -> Iterator[list[Unit | GpuverifyError]]:
    """Put units together to what goes to a process at once."""
    chunk: list[Unit | GpuverifyError] = []
    size = 0
    for unit in units:
        chunk.append(unit)
        if not isinstance(unit, GpuverifyError):
            size += sum(len(data) for _, data in unit)
        if len(chunk) >= CHUNK_UNITS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Pool:
    """Processes that verify; new ones are started where some died."""

    def __init__(self, asked: Asked, form: str, processes: int) -> None:
        self._arguments = (asked, form)
        self._processes = processes
        self._executor = self._start()

    def _start(self) -> ProcessPoolExecutor:
        """Start the processes."""
        import multiprocessing

        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        return ProcessPoolExecutor(
            self._processes,
            mp_context=multiprocessing.get_context(method),
            initializer=_begin,
            initargs=self._arguments,
        )

    def submit(self, units: list[Unit]) -> Future[list[list[Outcome]]]:
        """Have units verified."""
        try:
            return self._executor.submit(_work, units)
        except BrokenExecutor:
            self.restart()
            return self._executor.submit(_work, units)

    def restart(self) -> None:
        """Start new processes in place of dead ones."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._start()

    def close(self) -> None:
        """End the processes."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _pooled(
    units: Iterator[Unit | GpuverifyError],
    asked: Asked,
    bench: Bench,
    form: str,
    processes: int,
) -> Iterator[tuple[Unit, list[Outcome]]]:
    """Verify units in processes, a few chunks ahead of what is written, in order."""
    chunks = _chunks(units)
    first = next(chunks, None)
    if first is None:
        return
    pool = _Pool(asked, form, processes)
    waiting: deque[tuple[list[Unit | GpuverifyError], Future[list[list[Outcome]]]]] = deque()
    try:
        chunk: list[Unit | GpuverifyError] | None = first
        while chunk is not None or waiting:
            while chunk is not None and len(waiting) < 2 * processes + 1:
                waiting.append((chunk, pool.submit([u for u in chunk if isinstance(u, tuple)])))
                chunk = next(chunks, None)
            done, future = waiting.popleft()
            try:
                results = iter(future.result())
            except BrokenExecutor:
                # One document of some chunk took a process with it: do these one by one.
                pool.restart()
                waiting = deque((c, pool.submit(_plain(c))) for c, _ in waiting)
                results = iter(_one_by_one(_plain(done), asked, form))
            for unit in done:
                if isinstance(unit, tuple):
                    yield unit, next(results)
                else:
                    yield _here(unit, bench, form)
    finally:
        pool.close()


def _plain(chunk: list[Unit | GpuverifyError]) -> list[Unit]:
    """Return the units of a chunk that were read."""
    return [unit for unit in chunk if isinstance(unit, tuple)]


def _one_by_one(units: list[Unit], asked: Asked, form: str) -> Iterator[list[Outcome]]:
    """Verify units each in a process of its own, after one of them ended its process."""
    for unit in units:
        pool = _Pool(asked, form, 1)
        try:
            yield pool.submit([unit]).result()[0]
        except BrokenExecutor:
            failure = Failure(exit_code=70, message="the process that verified this ended early")
            yield [failed(origin, failure, form) for origin, _ in unit]
        finally:
            pool.close()


_BENCH: list[tuple[Bench, str]] = []
"""In a process of a pool: what is asked and known, opened once."""


def _begin(asked: Asked, form: str) -> None:
    """Open everything in a process of a pool; Ctrl-C is for the process that reads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _BENCH[:] = [(open_bench(asked), form)]
    # As the entry does: what lives here lives to the end, and documents make little garbage.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _work(units: list[Unit]) -> list[list[Outcome]]:
    """Verify units in a process of a pool."""
    bench, form = _BENCH[0]
    return [verify_and_lay_out(unit, bench, form) for unit in units]
