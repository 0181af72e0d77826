"""Every accident has its own exit code, and none looks like a verdict."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from gpuverify import __version__
from gpuverify.cli import application, exit_codes
from gpuverify.cli.boundary import ERROR_CODES, Failure, error_document, guarded
from gpuverify.errors import FormatError, GpuverifyError, OutputError, UsageError

Run = Callable[..., "subprocess.CompletedProcess[str]"]
BROKEN_RULES = "import gpuverify.cli.rules as m\ndef b():\n    {}\nm.command.callback = b"


def test_version_is_answered_before_click(run: Run) -> None:
    patch = (
        "import sys, atexit\n"
        "before = set(sys.modules)\n"  # coverage may have brought its own
        "atexit.register(lambda: sys.stderr.write(','.join(m for m in set(sys.modules) - before"
        " if m in ('click', 'typing', 'dataclasses', 'enum', 'json'))))"
    )
    done = run("--version", patch=patch)
    assert (done.returncode, done.stdout) == (0, f"gpuverify {__version__}\n")
    assert "click" not in done.stderr
    assert "dataclasses" not in done.stderr


def test_version_among_other_words(run: Run) -> None:
    done = run("--version", "check")
    assert (done.returncode, done.stdout) == (0, f"gpuverify {__version__}\n")


def test_help_imports_no_command(run: Run) -> None:
    patch = (
        "import sys, atexit\n"
        "atexit.register(lambda: sys.stderr.write(' '.join(m for m in sys.modules"
        " if m.startswith('gpuverify'))))"
    )
    done = run("--help", patch=patch)
    assert done.returncode == 0
    for name in application.COMMANDS:
        assert f"  {name} " in done.stdout
        assert f"gpuverify.cli.{name}" not in done.stderr.split()
    for part in ("rules", "refdb", "model.claims", "appraise", "collect"):
        assert f"gpuverify.{part}" not in done.stderr.split()


@pytest.mark.parametrize("name", sorted(application.COMMANDS))
def test_help_of_a_command(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: gpuverify {name}")


@pytest.mark.parametrize("name", sorted(application.COMMANDS))
def test_short_help_of_the_table_is_the_command_s_own(name: str) -> None:
    module, short = application.COMMANDS[name]
    command = importlib.import_module(module).command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.short_help == short


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nonsense",),
        ("--nonsense",),
        ("check", "--nonsense"),
        ("check", "surplus"),
        ("check", "--condition", "broken"),
        ("check", "--count", "0"),
        ("check", "--count", "many"),
        ("check", "--measure", "some"),
        ("check", "--measure", "quick", "--nonce", "0a1b"),
        ("check", "--nonce", "0a1b2c3d4e5f6071"),
        ("check", "--measure-anyway"),
        ("check", "--measure", "none", "--measure-anyway"),
        ("selftest",),
        ("selftest", "--gpu", "GPU-1", "--nonce", "x"),
        ("check", "--claim"),
        ("collect",),
        ("record",),
        ("appraise",),
        ("appraise", "-", "-"),
        ("appraise", "--json", "--jsonl", "x"),
        ("explain",),
        ("refdb", "nonsense"),
        ("refdb", "show"),
        ("refdb",),
    ],
)
def test_wrong_usage_is_64(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 64, done.stderr
    assert "Traceback" not in done.stderr


def test_an_option_of_measuring_says_what_it_needs(run: Run) -> None:
    done = run("check", "--nonce", "0a1b2c3d4e5f6071")
    assert "--nonce needs --measure" in done.stderr
    assert done.stdout == ""


def test_usage_error_under_json_is_one_document(run: Run) -> None:
    done = run("check", "--count", "many", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 64
    assert document["schema"] == "gpuverify/error/v1"
    assert document["error"]["exit_code"] == 64
    assert document["error"]["code"] == "usage"
    assert done.stderr == ""


def test_error_under_jsonl_is_one_line(run: Run) -> None:
    done = run("appraise", "--jsonl", "--nonsense", "x")
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("raise ValueError('odd')", 70),
        ("raise SystemExit(0)", 70),
        ("raise SystemExit(2)", 70),
        ("return None", 70),
        ("return True if False else 'x'", 70),
        ("raise MemoryError", 70),
        ("raise RecursionError", 70),
        ("import gpuverify.missing_part", 70),
        ("raise OSError(5, 'Input/output error')", 70),
        ("raise KeyboardInterrupt", 130),
        ("import click; raise click.Abort", 130),
        ("import click; raise click.BadParameter('p')", 64),
        ("import click; raise click.ClickException('c')", 64),
        ("import click; raise click.exceptions.Exit(3)", 70),
        ("raise BrokenPipeError(32, 'Broken pipe')", 73),
        ("raise OSError(28, 'No space left on device')", 73),
        ("import gpuverify.errors as e; raise e.SourceError('s')", 69),
        ("import gpuverify.errors as e; raise e.PermissionRefusedError('s')", 77),
        ("import gpuverify.errors as e; raise e.OutputError('s')", 73),
        ("import gpuverify.errors as e; raise e.MissingInputError('s')", 66),
        ("import gpuverify.errors as e; raise e.FormatError('s', 'm')", 65),
        ("import gpuverify.errors as e; raise e.PolicyError('s')", 65),
        ("import gpuverify.errors as e; raise e.ReferenceDataError('s')", 70),
        ("import gpuverify.errors as e; raise e.VerificationError('s')", 65),
        ("import gpuverify.errors as e; raise e.GpuverifyError('s')", 70),
    ],
)
def test_each_accident(run: Run, statement: str, code: int) -> None:
    done = run("rules", patch=BROKEN_RULES.format(statement))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1


def test_fault_is_owned_and_traced_on_request(run: Run) -> None:
    patch = BROKEN_RULES.format("raise ValueError('odd\\nthing \\x1b[2J')")
    plain = run("rules", patch=patch)
    assert "a fault of gpuverify, not of the card" in plain.stderr
    assert "\x1b" not in plain.stderr
    traced = run("rules", patch=patch, env={"GPUVERIFY_DEBUG": "1"})
    assert traced.returncode == 70
    assert "Traceback (most recent call last)" in traced.stderr


def test_missing_click_is_an_incomplete_installation(run: Run) -> None:
    done = run("rules", patch="import sys; sys.modules['click'] = None")
    assert done.returncode == 70
    assert "installation is incomplete" in done.stderr


def test_missing_part_of_ours_is_an_incomplete_installation(run: Run) -> None:
    done = run("rules", patch="import sys; sys.modules['gpuverify.cli.boundary'] = None")
    assert done.returncode == 70
    assert "installation is incomplete" in done.stderr


def test_interrupt_of_a_running_command() -> None:
    script = (
        "import gpuverify.cli.rules as m, sys, time\n"
        "def b():\n    print('running', flush=True)\n    time.sleep(60)\n"
        "m.command.callback = b\n"
        "from gpuverify.cli.entry import main\nsys.exit(main(['rules']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == b"gpuverify: interrupted\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("--version",), ("--help",), ("rules",), ("check", "--help")])
def test_full_disk_is_73(words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "gpuverify", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 73
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--version",), ("rules",), ("--help",)])
def test_closed_standard_output_is_73(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m gpuverify {" ".join(words)} >&-'],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert done.returncode == 73
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--version", "rules", "--help"])
def test_reader_that_went_away_is_73_and_quiet(words: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'( sleep 1; "{sys.executable}" -m gpuverify {words}; echo $? >&2 ) | :'],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert done.stderr.decode().strip().splitlines() == ["73"]


def test_precedence_over_inputs() -> None:
    assert exit_codes.combine([0, 3]) == 3
    assert exit_codes.combine([0]) == 0
    assert exit_codes.combine([3, 66]) == 66
    assert exit_codes.combine([70, 69, 77, 1]) == 1
    assert exit_codes.combine([1, 4]) == 4
    assert exit_codes.combine([4, 65, 1]) == 65
    assert exit_codes.combine([65, 2, 66]) == 2
    assert exit_codes.combine([]) == 70
    assert exit_codes.combine([0, 5]) == 70
    assert set(exit_codes.PRECEDENCE) | {130} == set(exit_codes.MEANINGS)


def test_every_error_class_has_a_word() -> None:
    def classes(root: type[GpuverifyError]) -> set[type[GpuverifyError]]:
        return {root}.union(*(classes(child) for child in root.__subclasses__()))

    assert {one.exit_code for one in classes(GpuverifyError)} <= set(ERROR_CODES)
    # 4 is a refusal by name (`model.refusal`); no other error has a code of a verdict.
    assert not set(ERROR_CODES) & {0, 1, 2, 3}


def test_guarded_keeps_results_and_maps_errors() -> None:
    assert guarded(lambda: 7) == 7

    def fail(error: BaseException) -> Failure:
        def call() -> int:
            raise error

        outcome = guarded(call)
        assert isinstance(outcome, Failure)
        return outcome

    assert fail(UsageError("two\nlines")).message == "two lines"
    assert fail(FormatError("a.txt", "broken", "line 3")).exit_code == 65
    assert fail(KeyboardInterrupt()).exit_code == 130
    output = OutputError("gone")
    output.__cause__ = BrokenPipeError()
    assert fail(output).quiet
    assert not fail(OutputError("full")).quiet


def test_error_document_keeps_its_shape() -> None:
    failure = Failure(exit_code=66, message="no such file: x\u202e")
    assert json.loads(error_document(failure)) == {
        "schema": "gpuverify/error/v1",
        "error": {"code": "missing-input", "message": "no such file: x\u202e", "exit_code": 66},
    }
    assert error_document(failure).isascii()
