"""Hostile input through the command line, in a process with little memory and little time.

Whatever comes in: one line (or one JSON document), the documented exit code, bounded memory.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack_support import A100, recorded

from gpuverify.cli.entry import main
from gpuverify.codec.evidence_json import dump_evidence
from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
from gpuverify.sources.cases import load_case

pytestmark = [
    pytest.mark.required,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and /proc of Linux"),
]

Inside = Callable[..., str]

MEMORY_BYTES = 600 << 20
SECONDS = 25
_PROGRESS = re.compile(r"gpuverify: reading .* (?:…|\.\.\.) \(\d+ s\)")


def limited() -> None:
    """Run in the child before it starts: little address space, little time, no dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def call(
    *words: str, stdin: object = subprocess.DEVNULL, cwd: Path | None = None
) -> tuple[int, str, list[str]]:
    """Run gpuverify; return exit code, standard output, and the lines said (progress aside)."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GPUVERIFY")}
    done = subprocess.run(
        [sys.executable, "-m", "gpuverify", *words],
        stdin=stdin,  # type: ignore[call-overload]
        capture_output=True,
        env={**environment, "PYTHONUTF8": "1"},
        preexec_fn=limited,
        timeout=60,
        cwd=cwd,
        check=False,
    )
    said = done.stderr.decode().splitlines()
    assert "Traceback" not in done.stderr.decode()
    return done.returncode, done.stdout.decode(), [x for x in said if not _PROGRESS.fullmatch(x)]


def refused(
    code: int, *words: str, stdin: object = subprocess.DEVNULL, cwd: Path | None = None
) -> str:
    """Run gpuverify, which has to refuse in one harmless line; return the line."""
    exit_code, out, said = call(*words, stdin=stdin, cwd=cwd)
    assert exit_code == code, (out, said)
    assert out == ""
    assert len(said) == 1, said
    assert said[0].startswith("gpuverify: ")
    assert said[0].isprintable(), said
    assert len(said[0]) <= 1100
    return said[0]


@pytest.fixture
def inside(capsys: pytest.CaptureFixture[str]) -> Inside:
    """Like `refused`, within this process: for what is no question of memory."""

    def run(code: int, *words: str) -> str:
        capsys.readouterr()
        exit_code = main(list(words))
        out, said = capsys.readouterr()
        lines = [line for line in said.splitlines() if not _PROGRESS.fullmatch(line)]
        assert (exit_code, out) == (code, ""), lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("gpuverify: ")
        assert lines[0].isprintable(), lines
        assert len(lines[0]) <= 1100
        return lines[0]

    return run


XML = xml_from_leaves(list(load_case(A100).recording.nvidia_smi.leaves))  # type: ignore[union-attr]
EVIDENCE = dump_evidence(recorded(A100))
HEAD = b'<?xml version="1.0" ?>\n<nvidia_smi_log>\n'
GPU = b'<gpu id="00000000:07:00.0"><product_name>%s</product_name></gpu></nvidia_smi_log>\n'
LOG = b"==============NVSMI LOG==============\n\nDriver Version : 550.54.14\n"
CARD = b"GPU 00000000:%02X:00.0\n    Product Name                          : %s\n"
SCHEMA = b'"schema":"gpuverify/evidence/v1","origin":"x","tool":"x","host":[]'
BOMB = (
    b'<?xml version="1.0"?>\n<!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(
        b'<!ENTITY %c "&%c;&%c;&%c;&%c;&%c;&%c;&%c;&%c;">' % (n + 1, *[n] * 8)
        for n in range(ord("a"), ord("i"))
    )
    + b"]>\n<nvidia_smi_log><gpu><product_name>&i;</product_name></gpu></nvidia_smi_log>\n"
)


def external(entity: bytes) -> bytes:
    """A document that wants something from elsewhere."""
    return (
        b'<?xml version="1.0"?>\n<!DOCTYPE nvidia_smi_log [' + entity + b"]>\n<nvidia_smi_log>"
        b"<gpu><product_name>&x;</product_name></gpu></nvidia_smi_log>\n"
    )


def claim(text: bytes) -> bytes:
    """Our evidence with one host claim."""
    return (
        b'{"schema":"gpuverify/evidence/v1","origin":"x","tool":"x","devices":[],"host":['
        + text
        + b"]}"
    )


UNRELIABLE: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t\n",
    "truncated-xml": XML[: len(XML) // 2],
    "truncated-xml-at-the-end": XML[:-4],
    "truncated-json": EVIDENCE[: len(EVIDENCE) // 2],
    "two-json-documents": EVIDENCE + EVIDENCE,
    "prose": b"it is a very good card\n",
    "html": b"<!DOCTYPE html><html><body>NVSMI</body></html>",
    "other-xml": b"<?xml version='1.0'?><svg></svg>",
    "two-roots": HEAD + GPU % b"A" + HEAD + GPU % b"B",
    "binary": Path(sys.executable).resolve().read_bytes()[:300_000],
    "random": bytes((i * 7919 + i // 251) % 256 for i in range(100_000)),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + bytes(range(256)),
    "latin-1": LOG + CARD % (7, b"Gr\xfc\xdfe"),
    "utf-16-without-mark": XML.decode().encode("utf-16-le"),
    "utf-16-cut": b"\xff\xfe" + XML.decode().encode("utf-16-le")[:1001],
    "utf-32": b"\xff\xfe\x00\x00" + XML.decode().encode("utf-32-le"),
    "nul-in-text": LOG + CARD % (7, b"A\x00B"),
    "nul-in-xml": HEAD + GPU % b"A\x00B",
    "nul-in-json": b'{"a":"\x00"}',
    "control-in-text": LOG + CARD % (7, b"A\x07B"),
    "control-in-xml": HEAD + GPU % b"A\x08B",
    "control-reference": HEAD + GPU % b"A&#27;[2JB",
    "bidi-in-text": LOG + CARD % (7, "A\u202eB".encode()),
    "bidi-in-xml": HEAD + GPU % "A\u202eB".encode(),
    "bidi-reference": HEAD + GPU % b"A&#x202e;B",
    "bidi-in-json": claim(b'{"id":"driver.version","status":"ok","source":"nvml","value":"5\\u202e"}'),
    "newline-in-json": claim(b'{"id":"driver.version","status":"ok","source":"nvml","value":"5\\n"}'),
    "escape-in-json": claim(b'{"id":"driver.version","status":"ok","source":"nvml","value":"\\u001b[2J"}'),
    "entity-bomb": BOMB,
    "external-entity": external(b'<!ENTITY x SYSTEM "file:///etc/passwd">'),
    "external-subset": external(b'<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;'),
    "undefined-entity": external(b""),
    "deep-xml": HEAD + b"<gpu>" + b"<a>" * 200_000,
    "deep-json": b'{"a":' + b"[" * 400_000,
    "deep-json-closed": b'{"devices":' + b"[" * 4000 + b"]" * 4000 + b"}",
    "million-gpus-xml": HEAD + b"<gpu></gpu>" * 1_000_000 + b"</nvidia_smi_log>",
    "million-gpus-text": LOG + b"".join(b"GPU %08X:00:00.0\n" % n for n in range(999_000)),
    "million-gpus-json": b"{" + SCHEMA + b',"devices":['
    + b",".join([b'{"index":0,"claims":[]}'] * 150_000) + b"]}",
    "million-tags": HEAD + b"<gpu>" + b"<a/>" * 2_100_000 + b"</gpu></nvidia_smi_log>",
    "million-values": b'{"a":[' + b"0," * 3_000_000 + b"0]}",
    "digits-json": b'{"a":' + b"9" * 10_000 + b"}",
    "digits-claim": claim(
        b'{"id":"host.taint","status":"ok","source":"host","value":' + b"9" * 10_000 + b"}"
    ),
    "64-bits": claim(b'{"id":"host.taint","status":"ok","source":"host","value":9223372036854775808}'),
    "float": claim(b'{"id":"host.taint","status":"ok","source":"host","value":1.0}'),
    "exponent": claim(b'{"id":"host.taint","status":"ok","source":"host","value":1e400}'),
    "nan": claim(b'{"id":"host.taint","status":"ok","source":"host","value":NaN}'),
    "unknown-id": claim(b'{"id":"gpu.price","status":"ok","source":"nvml","value":"5"}'),
    "device-id-on-the-host": claim(b'{"id":"gpu.name","status":"ok","source":"nvml","value":"5"}'),
    "unknown-status": claim(b'{"id":"driver.version","status":"fine","source":"nvml"}'),
    "unknown-source": claim(b'{"id":"driver.version","status":"ok","source":"me","value":"5"}'),
    "value-without-ok": claim(
        b'{"id":"driver.version","status":"not-found","source":"nvml","value":"5"}'
    ),
    "ok-without-value": claim(b'{"id":"driver.version","status":"ok","source":"nvml"}'),
    "bool-for-int": claim(b'{"id":"host.taint","status":"ok","source":"host","value":true}'),
    "two-claims": claim(b",".join([b'{"id":"host.taint","status":"ok","source":"host","value":1}'] * 2)),
    "key-twice": b"{" + SCHEMA + b',"devices":[],"devices":[]}',
    "unknown-key": b"{" + SCHEMA + b',"devices":[],"surprise":1}',
    "other-schema": b'{"schema":"gpuverify/evidence/v2","origin":"x"}',
    "list-index": b"{" + SCHEMA + b',"devices":[{"index":-1,"claims":[]}]}',
    "index-twice": b"{" + SCHEMA + b',"devices":[{"index":0,"claims":[]},{"index":0,"claims":[]}]}',
    "half-a-pair": claim(b'{"id":"driver.version","status":"ok","source":"nvml","value":"\\ud800"}'),
    "json-with-mark": b"\xef\xbb\xbf" + EVIDENCE,
    "json-in-utf-16": EVIDENCE.decode().encode("utf-16-le"),
    "endless-escape": LOG + b"\x1b]0;" * 100_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them as files."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = {}
    for name, data in UNRELIABLE.items():
        paths[name] = folder / f"{name}.log"
        paths[name].write_bytes(data)
    return paths


def test_every_one_is_65_in_one_line(hostile: dict[str, Path]) -> None:
    """All in one process, so that one input's memory has to be given back before the next."""
    code, out, said = call(
        "appraise", "--jsonl", "--claim", "a100-sxm4-80gb", *(str(p) for p in hostile.values())
    )
    assert code == 65
    assert said == []
    documents = dict(zip(hostile, map(json.loads, out.splitlines()), strict=True))
    wrong = {
        name: document
        for name, document in documents.items()
        if document.get("error", {}).get("exit_code") != 65
    }
    assert wrong == {}
    for name, document in documents.items():
        message = document["error"]["message"]
        assert message.isprintable(), name
        assert message.startswith(str(hostile[name])), name
        assert len(message) < 1100, name


@pytest.mark.parametrize("name", ["truncated-xml", "entity-bomb", "deep-json", "million-gpus-text"])
def test_one_file_is_one_line(hostile: dict[str, Path], name: str) -> None:
    refused(65, "appraise", "--claim", "a100-sxm4-80gb", str(hostile[name]))


@pytest.mark.parametrize("name", ["million-gpus-xml", "digits-json", "bidi-in-xml"])
def test_one_file_is_one_document(hostile: dict[str, Path], name: str) -> None:
    code, out, said = call("appraise", "--json", str(hostile[name]))
    assert (code, said) == (65, [])
    document = json.loads(out)
    assert document["schema"] == "gpuverify/error/v1"
    assert document["error"]["code"] == "unreliable-input"


def test_nothing_from_elsewhere_is_read(hostile: dict[str, Path]) -> None:
    for name in ("external-entity", "external-subset"):
        assert "root:" not in refused(65, "appraise", str(hostile[name]))


def test_500_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.log"
    with path.open("wb") as file:
        file.write(XML)
        file.truncate(500 << 20)
    assert "32 MiB" in refused(65, "appraise", str(path))
    with path.open("rb") as file:
        assert "32 MiB" in refused(65, "appraise", "-", stdin=file)
    assert "32 MiB" in refused(65, "appraise", "/dev/zero")


def test_500_megabytes_through_a_pipe() -> None:
    with subprocess.Popen(
        ["/bin/sh", "-c", "exec head -c 500000000 /dev/zero"], stdout=subprocess.PIPE
    ) as source:
        refused(65, "appraise", "-", stdin=source.stdout)
        assert source.stdout is not None
        source.stdout.close()


def test_large_texts_that_are_no_logs_end_in_time(tmp_path: Path) -> None:
    """What only looks like a log is read within the limits, and decides nothing."""
    names = {
        "long-line": HEAD + GPU % (b"A" * (4 << 20)),
        "many-lines": LOG + CARD % (7, b"A") + b"    Product Name : B\n" * 300_000,
        "staircase": LOG + b"GPU 00000000:07:00.0\n" + b"".join(
            b" " * (n % 150) + b"X%d\n" % n for n in range(60_000)),
        "attributes": HEAD.replace(b">\n", b" ") + b" ".join(
            b'a%d="1"' % n for n in range(150_000)) + b">" + GPU % b"A",
    }  # fmt: skip
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    for name, data in names.items():
        path = tmp_path / name
        path.write_bytes(data)
        code, _, said = call("appraise", "--json", str(path))
        assert code in (3, 65), (name, said)
    # Processor time, which does not depend on what else the machine does.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - started < SECONDS


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder of things that are no files."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("/does/not/exist")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "folder",
        "loop",
        "nowhere",
        "absent",
        "/proc/self/mem",
        "a\nb\x1b[31m\u202e",
        "x" * 5000,
    ],
)
def test_no_such_input_is_66(strange: Path, name: str) -> None:
    refused(66, "appraise", name, cwd=strange)


def test_a_pipe_without_a_writer_is_given_up(strange: Path) -> None:
    assert "nobody writes" in refused(66, "appraise", "pipe", cwd=strange)


@pytest.mark.parametrize("option", ["--claim", "--policy"])
def test_a_pipe_for_a_small_file_is_given_up_too(
    strange: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("gpuverify.codec.files.PATIENCE_S", 0.2)
    assert "nobody writes" in inside(66, "check", option, str(strange / "pipe"))


def test_a_pipe_with_a_slow_writer_is_waited_for(strange: Path) -> None:
    script = 'exec 3>"$0"; sleep 1; cat "$1" >&3'
    log = strange / "log.xml"
    log.write_bytes(XML)
    with subprocess.Popen(["/bin/sh", "-c", script, str(strange / "pipe"), str(log)]):
        code, out, _ = call("appraise", "--json", str(strange / "pipe"))
    assert code == 3
    assert json.loads(out)["devices"][0]["name"] == "NVIDIA A100-SXM4-80GB"


def test_a_file_that_may_not_be_read_is_66(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "closed.log"
    path.write_bytes(XML)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def closed(name: str, flags: int) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

        monkeypatch.setattr("gpuverify.codec.files._unblocked", closed)
    assert "Permission denied" in inside(66, "appraise", str(path))
    assert "Permission denied" in inside(66, "check", "--policy", str(path))


def test_closed_standard_input_is_66() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m gpuverify appraise - <&-'],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 66
    assert done.stderr.decode().count("\n") == 1


TOMLS: dict[str, tuple[bytes, int]] = {
    "not-toml": (b"= = =", 65),
    "nul": (b"\x00", 65),
    "latin-1": (b'a = "\xfc"', 65),
    "utf-16": ('a = "x"'.encode("utf-16"), 65),
    "digits": (b"a = " + b"9" * 10_000, 65),
    "deep": (b"a = " + b"[" * 30_000, 65),
    "deep-tables": (b"[" + b".".join([b"a"] * 15_000) + b"]", 65),
    "large": (b"#" * 70_000, 65),
    "escape": (b'schema = 1\nname = "\\u001b[2J\\u202e"\nsurprise = 1\n', 65),
    "escaped-key": (b'"\\u001b[31m\\n" = 1\n', 65),
    "float": (b"schema = 1.0\n", 65),
    "date": (b"schema = 2026-01-01\n", 65),
    "infinite": (b"schema = inf\n", 65),
}


@pytest.mark.parametrize("name", TOMLS)
def test_hostile_policies_and_claims(tmp_path: Path, inside: Inside, name: str) -> None:
    data, code = TOMLS[name]
    path = tmp_path / "own.toml"
    path.write_bytes(data)
    inside(code, "check", "--policy", str(path), "--replay", A100)
    inside(code, "check", "--claim", str(path), "--replay", A100)


def test_hostile_claim_items(tmp_path: Path, inside: Inside) -> None:
    path = tmp_path / "own.toml"
    for item, code in (
        ('product = "a100-sxm4-80gb"\ncount = -1', 64),
        ('product = "a100-sxm4-80gb"\ncount = 9223372036854775808', 64),
        ('product = "a100-sxm4-80gb"\nmax_hours = -1', 65),
        ('product = "a100-sxm4-80gb"\nverdict = "consistent"', 65),
        ('product = "\\u202e\\u001b[2J"', 64),
        ("product = [1]", 65),
        ('product = "a100"', 64),
    ):
        path.write_text(f"[[item]]\n{item}\n", encoding="utf-8")
        inside(code, "check", "--claim", str(path), "--replay", A100)
    path.write_text('[[item]]\nproduct = "a100-sxm4-80gb"\n' * 300, encoding="utf-8")
    inside(65, "check", "--claim", str(path), "--replay", A100)


@pytest.mark.parametrize(
    "text", ["\x1b[2J\u202e\n", "a" * 100_000, "'; rm -rf /", "\ud800x", "../../etc"]
)
def test_hostile_words(text: str, inside: Inside, tmp_path: Path) -> None:
    words = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    inside(66 if "/" in text else 64, "check", "--claim", words, "--replay", A100)
    inside(66, "check", "--policy", words, "--replay", A100)
    inside(66, "check", "--replay", words)
    inside(66, "appraise", words)
    inside(64, "check", "--replay", A100, "--gpu", words)
    inside(64, "products", words)
    inside(64, "explain", words)
    inside(64, "refdb", "show", words)
    for command in (("check",), ("collect",)):
        option = "--evidence-out" if command == ("check",) else "-o"
        inside(73, *command, "--replay", A100, option, f"{tmp_path}/none/{words}".replace("..", ""))


def test_hostile_words_as_arguments_of_a_process() -> None:
    refused(66, "check", "--replay", "\x1b[2J\u202e\n")
    refused(66, "appraise", "\udc80\udcff")
    refused(73, "record", "-o", "x" * 5000)


@pytest.mark.parametrize(
    "case",
    [
        'base = "./case"',
        'base = "../../../etc"',
        'base = "ga100/a100-sxm4-80gb"\ncopies = 10000',
        'base = "ga100/a100-sxm4-80gb"\ncopies = true',
        'base = "ga100/a100-sxm4-80gb"\n[[edit]]\nfile = "/proc/self/maps"\nhex = "0"',
        'base = "ga100/a100-sxm4-80gb"\n[[edit]]\nclass = "live"',
        'base = "ga100/a100-sxm4-80gb"\nevidence_class = "live"',
    ],
)
def test_hostile_cases(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "case.toml").write_text(case, encoding="utf-8")
    code, out, said = call("check", "--replay", str(folder))
    assert code in (65, 66)
    assert (out, len(said)) == ("", 1)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"schema":"gpuverify/recording/v1"}',
                                  b"[" * 100_000, b'{"a":1e999}'])  # fmt: skip
def test_hostile_recordings(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "recording.json").write_bytes(data)
    refused(65, "check", "--replay", str(tmp_path))
