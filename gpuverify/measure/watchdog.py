"""Starting, watching and ending the children that touch the cards.

A call into a driver whose device hangs may never return and hears no signal but the last one, so
each card is touched by a process of its own. The parent sees nothing of it but its state file.
"""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpuverify.measure.progress import Progress
from gpuverify.measure.worker import Request

_READ_BYTES = 1 << 20
_LAST_WAIT_S = 5.0
_COMPLAINT_CHARS = 2000
_SILENT_S = 10.0
"""A child that was silent so long when its time was over hangs; a slow one tells where it is."""


class Ending(enum.Enum):
    """How a child ended."""

    DONE = "done"
    FAILED = "failed"
    DIED = "died"
    STALLED = "stalled"
    OVERDUE = "overdue"
    STOPPED = "stopped"


@dataclass(slots=True, kw_only=True)
class ChildOutcome:
    """What became of a child.

    Attributes:
        ending: How it ended.
        exit_code: Its exit code, negative for a signal, None where it could not be ended.
        opened: What it said of the device, empty where it did not get so far.
        failed: What it said of its failure, empty for none.
        evidence: Evidence of each task that it finished.
        partial: What it last knew of each task.
        last_progress: The last step that it began.
        reason: Why it was stopped.
        complaint: End of what it wrote to standard error.
    """

    ending: Ending = Ending.DONE
    exit_code: int | None = None
    opened: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, Any] = field(default_factory=dict)
    evidence: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    partial: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    last_progress: Progress | None = None
    reason: str = ""
    complaint: str = ""


class StateFile:
    """Reads what a child writes, as it comes, into its outcome.

    Attributes:
        gate: The last gate that the child named, "" for none since it was taken.
    """

    def __init__(self, path: Path, outcome: ChildOutcome) -> None:
        """Begin at the start of the file.

        Args:
            path: The file.
            outcome: Where to put what is read.
        """
        self.gate = ""
        self._path = path
        self._outcome = outcome
        self._position = 0
        self._rest = b""

    def skip(self) -> None:
        """Pass over all that is there."""
        self._position = self._path.stat().st_size

    def read(self) -> bool:
        """Take in the lines that the child has written since.

        Returns:
            Whether there were any.
        """
        with self._path.open("rb") as stream:
            stream.seek(self._position)
            while data := stream.read(_READ_BYTES):
                self._position += len(data)
                self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._take(line)
        return bool(lines)

    def _take(self, line: bytes) -> None:
        """Take in one line; what a dying child left half written is passed over."""
        try:
            data = json.loads(line)
        except ValueError:
            return
        event, task = data.pop("event", ""), data.pop("task", "")
        data.pop("at_ms", None)
        outcome = self._outcome
        if event == "progress":
            outcome.last_progress = Progress(**data)
        elif event == "gate":
            self.gate = data["gate"]
        elif event == "partial":
            outcome.partial[task] = data["evidence"]
        elif event == "evidence":
            outcome.evidence[task] = data["evidence"]
        elif event == "opened":
            outcome.opened = data
        elif event == "failed":
            outcome.failed = data


class Child:
    """One child process with its state file.

    Attributes:
        outcome: What is known of it so far; complete once `poll` says that it ended.
        waiting_at: Gate at which it waits, "" for none.
    """

    def __init__(
        self,
        request: Request,
        state_path: Path,
        *,
        stall_ms: int,
        deadline_ms: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the child.

        Args:
            request: What it has to do.
            state_path: Where it writes its state; a file that is there is continued.
            stall_ms: Longest time without a line before it is given up.
            deadline_ms: Longest time in all, waiting at gates not counted.
            environment: Environment variables beside the inherited ones.
        """
        self.outcome = ChildOutcome()
        self.waiting_at = ""
        self._gated = request.gated
        state_path.touch()
        self._state = StateFile(state_path, self.outcome)
        self._state.skip()
        self._complaint_path = state_path.with_name(state_path.name + ".stderr")
        self._stall_s, self._left_s = stall_ms / 1000, deadline_ms / 1000
        self._last_line = self._last_look = time.monotonic()
        self._ended = False
        with self._complaint_path.open("wb") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "gpuverify.measure.worker", str(state_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env={**os.environ, **(environment or {})},
                # A Ctrl-C at the terminal is the parent's to handle.
                start_new_session=True,
            )
        self._say(request.to_json())

    def _say(self, line: str) -> None:
        """Write a line to the child; one that is gone does not hear it."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe, asked for above
        try:
            self._process.stdin.write(line.encode("ascii") + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ConnectionResetError):
            return

    def poll(self) -> bool:
        """Read what the child wrote and end it where its time is over.

        Returns:
            Whether it has ended.
        """
        if self._ended:
            return True
        code = self._process.poll()
        self._read()
        now = time.monotonic()
        if code is not None:
            self._finish(code)
        elif self.waiting_at:
            self._last_line = now
        elif now - self._last_line > self._stall_s:
            self._end(Ending.STALLED, f"no progress for {self._stall_s:.0f} s")
        else:
            self._left_s -= now - self._last_look
            silent = now - self._last_line
            if self._left_s < 0 and silent > min(_SILENT_S, self._stall_s / 2):
                self._end(Ending.STALLED, f"no progress for {silent:.0f} s, and its time is over")
            elif self._left_s < 0:
                self._end(Ending.OVERDUE, "the time for this card is over")
        self._last_look = now
        return self._ended

    def wait(self, poll_s: float = 0.02) -> ChildOutcome:
        """Wait for the child, opening its gates."""
        while not self.poll():
            self.open_gate()
            time.sleep(poll_s)
        return self.outcome

    def open_gate(self) -> None:
        """Let a child go on that waits at a gate."""
        if self.waiting_at:
            self.waiting_at = ""
            self._say("go")

    def stop(self, reason: str) -> None:
        """End the child now, e.g. since the card is too hot."""
        if not self._ended:
            self._read()
            self._end(Ending.STOPPED, reason)

    def _end(self, ending: Ending, reason: str) -> None:
        """Kill the child; one that sits in a dead driver may outlive even that."""
        self.outcome.ending, self.outcome.reason = ending, reason
        self._process.kill()
        try:
            code: int | None = self._process.wait(_LAST_WAIT_S)
        except subprocess.TimeoutExpired:
            code = None
        self._read()
        self._close(code)

    def _finish(self, code: int) -> None:
        """Note how a child ended by itself."""
        self._read()
        if code == 0:
            self.outcome.ending = Ending.DONE
        else:
            self.outcome.ending = Ending.FAILED if self.outcome.failed else Ending.DIED
        self._close(code)

    def _close(self, code: int | None) -> None:
        """Close what belongs to the child."""
        self._ended = True
        self.waiting_at = ""
        self.outcome.exit_code = code
        if self._process.stdin is not None:
            self._process.stdin.close()
        text = self._complaint_path.read_bytes().decode("utf-8", "replace")
        self.outcome.complaint = text[-_COMPLAINT_CHARS:]
        if not text:
            self._complaint_path.unlink()

    def _read(self) -> None:
        """Take in the lines that the child has written since."""
        if self._state.read():
            self._last_line = time.monotonic()
        if self._gated and self._state.gate:
            self.waiting_at, self._state.gate = self._state.gate, ""
