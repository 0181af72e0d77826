"""`gpuverify show` as its users run it: real keys, real reports, processes of their own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

CASE = "ga100/a100-sxm4-80gb"
SERIAL = "1650922633008"
TEST_KEY = ("--accept-replayed",)


def environment(home: Path) -> dict[str, str]:
    dropped = ("NO_COLOR", "GPUVERIFY_DEBUG", "PYTHONIOENCODING", "COLUMNS", "SSH_AUTH_SOCK")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "GPUVERIFY_HOME": str(home), "PYTHONUTF8": "1"}


def gpuverify(folder: Path, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "gpuverify", *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env={**environment(folder / "home"), **options.pop("env", {})},  # type: ignore[dict-item]
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trusted test key, a stranger's key, and reports of one and two cards."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("mine", "strange"):
        made = gpuverify(folder, "key", "new", name, "--no-passphrase")
        assert made.returncode == 0, made.stderr
    public = gpuverify(folder, "key", "export", "mine", "--ssh").stdout
    (folder / "mine.pub").write_text(public)
    blob = base64.b64decode(public.split()[1])
    keyid = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    added = gpuverify(
        folder, "trust", "add", "mine.pub", "--test", "--principal", "shop@example.net",
        "--fingerprint", keyid,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    for name, key, case in (
        ("card.json", "mine", CASE),
        ("strange.json", "strange", CASE),
        ("two.jsonl", "mine", "ga100/seven-good-and-one-40gb"),
    ):
        signed = gpuverify(
            folder, "check", "--replay", case, "--report-out", name, "--key", key,
            "--principal", "shop@example.net", "--remark", "外观良好", "--order", "<b>PO</b>",
        )  # fmt: skip
        assert signed.returncode in (0, 1, 2, 3), signed.stderr
    return folder


def test_certificate_on_standard_output(shop: Path) -> None:
    done = gpuverify(shop, "show", "card.json", *TEST_KEY, "--claim", "a100-sxm4-80gb")
    assert done.returncode == 3
    assert done.stderr == ""
    text = " ".join(done.stdout.split())
    assert "SIGNATURE VERIFIED; OWN APPRAISAL: UNVERIFIED" in text
    assert "Signed by a test key" in text
    assert "replayed recording" in text
    assert f"Board serial {SERIAL}" in text
    assert "外观良好" in text
    assert "The results relate only to the item tested." in text
    assert "\x1b" not in done.stdout


def test_own_claim_is_the_readers(shop: Path) -> None:
    done = gpuverify(shop, "show", "card.json", *TEST_KEY, "--claim", "a100-sxm4-40gb")
    assert done.returncode == 2
    assert "would be mismatch" in done.stdout
    silent = gpuverify(shop, "show", "card.json", *TEST_KEY)
    assert silent.returncode == 3
    assert "Nothing was claimed by you" in " ".join(silent.stdout.split())


def test_test_key_is_refused_by_default(shop: Path) -> None:
    done = gpuverify(shop, "show", "card.json")
    assert done.returncode == 65
    assert "E_UNKNOWN_KEY" in done.stdout
    assert SERIAL not in done.stdout


def test_stranger_and_flipped_bits_show_nothing(shop: Path) -> None:
    tree = json.loads((shop / "card.json").read_text())
    payload = bytearray(base64.b64decode(tree["dsseEnvelope"]["payload"]))
    payload[len(payload) // 2] ^= 1
    tree["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (shop / "flipped.json").write_text(json.dumps(tree))
    for name, code in (("strange.json", "E_UNKNOWN_KEY"), ("flipped.json", "E_SIGNATURE")):
        done = gpuverify(shop, "show", name, *TEST_KEY, "-v")
        assert done.returncode == 65
        assert "NOT RELIED ON" in done.stdout
        assert code in done.stdout
        assert SERIAL not in done.stdout
        assert "A100" not in done.stdout


def test_page(shop: Path) -> None:
    done = gpuverify(shop, "show", "card.json", *TEST_KEY, "--html", "card.html")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    page = (shop / "card.html").read_text("utf-8")
    assert "courtesy copy, not evidence" in page
    assert SERIAL in page
    assert "外观良好" in page
    assert "&lt;b&gt;PO&lt;/b&gt;" in page
    assert str(shop) not in page
    again = gpuverify(shop, "show", "card.json", *TEST_KEY, "--html", "card.html")
    assert again.returncode == 73
    assert "add --force" in again.stderr
    # From another folder, at another moment, it is the same page.
    forced = gpuverify(
        shop, "show", str(shop / "card.json"), *TEST_KEY, "--html", "card.html", "--force"
    )
    assert forced.returncode == 3
    assert (shop / "card.html").read_text("utf-8") == page
    out = gpuverify(shop, "show", "card.json", *TEST_KEY, "--html", "-")
    assert out.stdout == page


def test_no_page_of_what_is_not_relied_on(shop: Path) -> None:
    done = gpuverify(shop, "show", "strange.json", *TEST_KEY, "--html", "strange.html")
    assert done.returncode == 65
    assert "E_UNKNOWN_KEY" in done.stdout
    assert "no page was written" in done.stderr
    assert not (shop / "strange.html").exists()


def test_page_of_a_whole_server(shop: Path) -> None:
    done = gpuverify(shop, "show", "two.jsonl", *TEST_KEY, "--html", "server.html")
    assert done.returncode == 3, done.stdout + done.stderr
    page = (shop / "server.html").read_text("utf-8")
    assert page.count("<article") == 9
    assert "Set of GPU test reports" in page
    text = gpuverify(shop, "show", "two.jsonl", *TEST_KEY).stdout
    assert text.count("GPU test report ") == 8
    assert "Cards 8" in " ".join(text.split())


def test_a_page_is_no_report(shop: Path) -> None:
    gpuverify(shop, "show", "card.json", *TEST_KEY, "--html", "given.html", "--force")
    done = gpuverify(shop, "show", "given.html", *TEST_KEY)
    assert done.returncode == 65
    assert "courtesy copy" in " ".join(done.stdout.split())


def test_identity_document_is_the_subject(shop: Path) -> None:
    done = gpuverify(shop, "show", "card.json", *TEST_KEY, "--identity")
    assert json.loads(done.stdout)["board_serial"] == SERIAL
    tree = json.loads((shop / "card.json").read_text())
    statement = json.loads(base64.b64decode(tree["dsseEnvelope"]["payload"]))
    digest = hashlib.sha256(done.stdout.encode()).hexdigest()
    assert digest == statement["subject"][0]["digest"]["sha256"]
    refused = gpuverify(shop, "show", "strange.json", *TEST_KEY, "--identity")
    assert refused.returncode == 65
    assert SERIAL not in refused.stdout
    several = gpuverify(shop, "show", "two.jsonl", *TEST_KEY, "--identity")
    assert several.returncode == 64
    assert "takes one report, not 8" in several.stderr


def test_verify_page_is_written(shop: Path) -> None:
    done = gpuverify(shop, "show", "--verify-page", "verify.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    source = Path(__file__).parents[2] / "gpuverify/render/data/verify.html"
    assert (shop / "verify.html").read_bytes() == source.read_bytes()
    assert gpuverify(shop, "show", "--verify-page", "verify.html").returncode == 73


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 64),
        (("--html", "x.html"), 64),
        (("card.json", "--verify-page", "v.html"), 64),
        (("card.json", "--html", "x.html", "--identity"), 64),
        (("card.json", "--html", "missing/x.html"), 73),
        (("missing.json",), 66),
        (("card.json", "--trust", "missing"), 66),
        (("card.json", "--claim", "no such product"), 64),
    ],
)
def test_wrong_usage(shop: Path, words: tuple[str, ...], code: int) -> None:
    done = gpuverify(shop, "show", *words)
    assert done.returncode == code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_standard_input(shop: Path) -> None:
    data = (shop / "card.json").read_text()
    done = gpuverify(shop, "show", "-", *TEST_KEY, input=data)
    assert done.returncode == 3
    assert "Read from        standard input" in done.stdout


def on_terminal(shop: Path, columns: int, **extra: str) -> str:
    """Run `show` on a pseudo-terminal and return what it wrote."""
    ours, theirs = pty.openpty()
    env = {**environment(shop / "home"), "TERM": "xterm", "COLUMNS": str(columns), **extra}
    running = subprocess.Popen(
        [sys.executable, "-m", "gpuverify", "show", "card.json", *TEST_KEY],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=shop,
        env=env,
    )
    os.close(theirs)
    written = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert running.wait(60) == 3
    return written.decode().replace("\r\n", "\n")


def test_terminal_colour_and_width(shop: Path) -> None:
    wide = on_terminal(shop, 120)
    assert "\x1b[1mITEM TESTED\x1b[0m" in wide
    narrow = on_terminal(shop, 80, NO_COLOR="1")
    assert "\x1b" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert len(wide.splitlines()) < len(narrow.splitlines())
    plain = on_terminal(shop, 80, NO_COLOR="1", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert plain.isascii()
    assert "\\u5916" in plain
