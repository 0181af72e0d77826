"""Running programs: bounded in time and output, in a clean environment."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from gpuverify.sources.commands import SystemCommands, find_program
from gpuverify.sources.host_tree import MachineTree

RUN = SystemCommands().run


def test_output_and_exit_code() -> None:
    output = RUN(("/bin/sh", "-c", "echo one; echo two >&2; exit 7"), 10, 1000)
    assert (output.exit_code, output.stdout, output.stderr) == (7, b"one\n", b"two\n")
    assert not output.timed_out


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_TRAP", "x")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    shown = RUN(("/usr/bin/env",), 10, 4000).stdout.decode().splitlines()
    assert sorted(line.split("=")[0] for line in shown) == ["HOME", "LC_ALL", "PATH"]
    assert "LC_ALL=C" in shown


def test_no_shell_reads_the_arguments() -> None:
    assert RUN(("/bin/echo", "$(id)", ";"), 10, 1000).stdout == b"$(id) ;\n"


def test_output_is_cut_and_the_program_goes_on() -> None:
    argv = (sys.executable, "-I", "-c", "print('x' * 3_000_000); raise SystemExit(3)")
    output = RUN(argv, 30, 1234)
    assert len(output.stdout) == 1234
    assert output.exit_code == 3


def test_time_out_takes_the_whole_group(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    started = time.monotonic()
    output = RUN(("/bin/sh", "-c", f"sleep 60 & echo $! > {mark}; echo soon; wait"), 0.6, 1000)
    assert time.monotonic() - started < 20
    assert output.timed_out
    assert output.exit_code is None
    assert output.stdout == b"soon\n"
    child = int(mark.read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("a child of the program is still there")


def test_silent_program_that_closed_its_outputs_is_stopped_too() -> None:
    output = RUN(("/bin/sh", "-c", "exec >&- 2>&-; sleep 60"), 0.4, 1000)
    assert output.timed_out


def test_death_by_signal() -> None:
    assert RUN(("/bin/sh", "-c", "kill -9 $$"), 10, 10).exit_code == -9


def test_absent_and_refused_are_results(tmp_path: Path) -> None:
    assert RUN((str(tmp_path / "none"),), 1, 10).error == errno.ENOENT
    plain = tmp_path / "plain"
    plain.write_text("no program")
    output = RUN((str(plain),), 1, 10)
    assert (output.exit_code, output.error, output.timed_out) == (None, errno.EACCES, False)


@pytest.mark.parametrize("argv", [(), ("ls",), ("./ls",)])
def test_relative_paths_are_a_programming_error(argv: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="absolute"):
        RUN(argv, 1, 10)


def test_find_program_ignores_the_users_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("evil", "usr/sbin", "opt/extra"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "evil/tool").touch()
    (tmp_path / "usr/sbin/tool").touch()
    (tmp_path / "opt/extra/other").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}/evil{os.pathsep}/usr/bin")
    tree = MachineTree(tmp_path)
    assert find_program(tree, "tool") == "/usr/sbin/tool"
    assert find_program(tree, "other") is None
    assert find_program(tree, "other", "/opt/extra") == "/opt/extra/other"
