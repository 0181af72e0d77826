"""`gpuverify device-evidence`, and --device-evidence of check, collect and appraise."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "device_evidence"))

import attestation_support as made

pytestmark = pytest.mark.required

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CASE, CLAIM, PDI = "gh100/h100-sxm5-80gb", "h100-sxm5-80gb", "5A11ED0000010001"
OWN_ROOT = (
    "import gpuverify.device_evidence.chain as chain;"
    f" chain.NVIDIA_DEVICE_ROOTS = frozenset({set(made.ROOTS)!r})"
)


def pem(chain: tuple[bytes, ...]) -> bytes:
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(one) + b"-----END CERTIFICATE-----\n"
        for one in chain
    )


def entry(report: bytes, chain: tuple[bytes, ...]) -> dict[str, str]:
    return {
        "arch": "HOPPER",
        "certificate": base64.b64encode(pem(chain)).decode(),
        "evidence": base64.b64encode(report).decode(),
        "nonce": made.NONCE.hex(),
    }


def signed(**fields: bytes) -> bytes:
    """A report with some fields changed, by number: f15=b"865"."""
    changed = [(n, fields.get(f"f{n}", value)) for n, value in made.fields()]
    return made.report_of(made.Report(opaque=made.opaque_of(changed)))


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """The JSON of one GPU."""
    path = tmp_path / "one.json"
    path.write_text(json.dumps([entry(signed(), made.good_chain())]))
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The JSON of two GPUs; the second report is of another card's key."""
    stolen = made.report_of(made.Report(signer=made.key("another leaf")))
    path = tmp_path / "two.json"
    path.write_text(
        json.dumps([entry(signed(), made.good_chain()), entry(stolen, made.good_chain())])
    )
    return path


def test_show_lists_everything_and_verifies_nothing(run: Run, one: Path) -> None:
    done = run("device-evidence", "show", str(one))
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    for part in (
        "nothing is verified here", "board G520.0200", "chip SKU 885", "96.00.A5.00.01",
        "product h100-sxm5-80gb", "G520_0200_885_9600A50001", "driver 590.12", "0x48b02d0011223344", "protected PCIe off",
        "measurements 3", "T100 A01 GSP FMC LF", "Test Device Identity CA", "9999-12-31",
        "firmware id, 48 bytes", "Not checked offline: revocation",
    ):  # fmt: skip
        assert part in words, part
    assert max(map(len, done.stdout.splitlines())) <= 80
    document = json.loads(run("device-evidence", "show", str(one), "--json").stdout)
    assert (document["schema"], document["command"]) == ("gpuverify/device-evidence/v1", "show")
    (device,) = document["devices"]
    assert device["verified"] is None
    assert device["nonce"] == device["nonce_in_file"] == made.NONCE.hex()
    assert [c["place"] for c in device["certificates"]][::4] == ["leaf", "root"]
    assert len(device["fields"]) == len(made.fields())
    assert [m["index"] for m in device["measurements"]] == [1, 2, 3]


def test_verify_says_how_much_it_is_worth(run: Run, one: Path) -> None:
    words = ("device-evidence", "verify", str(one))
    bound = run(*words, "--nonce", made.NONCE.hex(), patch=OWN_ROOT)
    assert bound.returncode == 0, bound.stdout + bound.stderr
    assert "stands, and answers your nonce" in bound.stdout
    aged = run(*words, patch=OWN_ROOT)
    assert aged.returncode == 3
    assert "its age is not known" in aged.stdout
    other = run(*words, "--nonce", "0x" + "AB" * 32, "--json", patch=OWN_ROOT)
    assert other.returncode == 65
    document = json.loads(other.stdout)
    assert document["devices"][0]["error"]["code"] == "E_HWATT"
    assert document["devices"][0]["error"]["check"] == "report-nonce"
    foreign = run(*words)
    assert foreign.returncode == 65
    assert "E_HWATT (chain-root)" in foreign.stdout


def test_several_gpus_are_listed_each(run: Run, two: Path) -> None:
    words = ("device-evidence", "verify", str(two), "--nonce", made.NONCE.hex(), "--json")
    done = run(*words, patch=OWN_ROOT)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 65
    good, bad = document["devices"]
    assert (good["verified"], good["nonce_bound"]) == (True, True)
    assert good["signed"]["chip_sku"] == "885"
    assert good["device_key_sha256"] == made.key_digest(made.key("device"))
    assert (bad["index"], bad["verified"], bad["error"]["check"]) == (1, False, "report-signature")


def test_a_report_in_hex_beside_its_chain(run: Run, tmp_path: Path) -> None:
    report, chain = tmp_path / "report.txt", tmp_path / "chain.pem"
    report.write_text(signed().hex())
    chain.write_bytes(pem(made.good_chain()))
    words = ("device-evidence", "verify", str(report))
    done = run(*words, "--chain", str(chain), "--nonce", made.NONCE.hex(), patch=OWN_ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    without = run(*words)
    assert (without.returncode, without.stdout) == (64, "")
    assert "needs its certificates" in without.stderr
    swapped = run("device-evidence", "verify", str(chain), "--chain", str(report))
    assert swapped.returncode == 65
    missing = run(*words, "--chain", str(tmp_path / "none.pem"), "--json")
    assert missing.returncode == 66
    assert json.loads(missing.stdout)["schema"] == "gpuverify/error/v1"


@pytest.mark.parametrize("nonce", ["", "zz" * 32, "00" * 31, "0x", "٣" * 64, "00 " * 32])
def test_a_nonce_of_another_shape_is_64(run: Run, one: Path, nonce: str) -> None:
    done = run("device-evidence", "verify", str(one), "--nonce", nonce)
    assert done.returncode == 64
    assert "64 hex digits" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00" * 5000, b"[" * 100_000, b"[]", b"{}", b'[{"evidence": 1}]', b"0x", b"11e0",
        b"\xff\xfe{\x00", json.dumps([entry(b"\x11\xe0" + bytes(9000), ())]).encode(),
        json.dumps([entry(signed()[:200], made.good_chain())]).encode(),
        b'{"evidence_list": [' + b"7," * 300 + b"7]}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["show", "verify"])
def test_hostile_files_end_in_one_line_and_65(
    run: Run, tmp_path: Path, content: bytes, verb: str
) -> None:
    path, chain = tmp_path / "evidence", tmp_path / "chain.pem"
    path.write_bytes(content)
    chain.write_bytes(pem(made.good_chain()))
    extra = () if content.lstrip()[:1] in (b"[", b"{") else ("--chain", str(chain))
    done = run("device-evidence", verb, str(path), *extra)
    assert done.returncode == 65, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert len(done.stdout) + len(done.stderr) < 3000


def test_names_in_a_certificate_are_made_harmless(run: Run, tmp_path: Path) -> None:
    chain = made.links()
    chain[1].name = "T100\x1b[2J\u202eevil"
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps([entry(signed(), made.chain_of(chain))]))
    for words in (("show",), ("verify",), ("show", "--json"), ("verify", "--json")):
        done = run("device-evidence", words[0], str(path), *words[1:], patch=OWN_ROOT)
        assert done.returncode in (0, 3), done.stderr
        assert "\x1b" not in done.stdout
        assert "\u202e" not in done.stdout


# -- beside what was read of the cards


def evidence_for(path: Path, pdi: str = PDI, **fields: bytes) -> Path:
    path.write_text(json.dumps([entry(signed(**fields), made.chain_of(made.links(pdi)))]))
    return path


def test_a_replay_with_an_h800_s_evidence_and_an_h100_claim_is_2(run: Run, tmp_path: Path) -> None:
    brought = evidence_for(tmp_path / "h800.json", f15=b"865" + bytes(6), f18=b"0205\0")
    words = ("--claim", CLAIM, "--device-evidence", str(brought), "--json")
    done = run("check", "--replay", CASE, *words, patch=OWN_ROOT)
    assert done.returncode == 2, done.stdout + done.stderr
    document = json.loads(done.stdout)
    found = {f["rule"]: f for f in document["devices"][0]["findings"]}
    assert found["identity.device-signed-product"]["code"] == "other-product"
    assert found["environment.device-evidence"]["code"] == "age-unknown"
    foreign = run("check", "--replay", CASE, *words)
    assert "chain-root" in foreign.stdout
    assert foreign.returncode == 1


def test_evidence_travels_in_the_file_that_collect_writes(run: Run, tmp_path: Path) -> None:
    report, chain = tmp_path / "report.bin", tmp_path / "chain.pem"
    raw = signed()
    report.write_bytes(raw)
    chain.write_bytes(pem(made.chain_of(made.links(PDI))))
    out = tmp_path / "evidence.json"
    options = ("--device-evidence", str(report), "--device-evidence-chain", str(chain))
    done = run("collect", "--replay", CASE, "-o", str(out), *options)
    assert done.returncode == 0, done.stderr
    claims = {c["id"]: c for c in json.loads(out.read_text())["devices"][0]["claims"]}
    assert base64.b64decode(claims["attestation.report"]["value"]) == raw
    assert "attestation.nonce" not in claims
    judged = run("appraise", str(out), "--claim", CLAIM, "-v", patch=OWN_ROOT)
    assert "The chip signed" not in judged.stdout  # the nonce is nobody's
    assert "Some card signed board G520.0200" in " ".join(judged.stdout.split())
    again = run("appraise", str(out), *options)
    assert again.returncode == 64
    assert "of its own already" in again.stderr
    plain = tmp_path / "plain.json"
    assert run("collect", "--replay", CASE, "-o", str(plain)).returncode == 0
    late = run("appraise", str(plain), "--claim", CLAIM, "-v", *options, patch=OWN_ROOT)
    assert late.stdout.replace(str(plain), str(out)) == judged.stdout


def test_what_cannot_be_placed_is_64(run: Run, tmp_path: Path, two: Path) -> None:
    done = run("check", "--replay", CASE, "--device-evidence", str(two))
    assert done.returncode == 64
    assert "which is whose cannot be told" in done.stderr
    missing = run("check", "--replay", CASE, "--device-evidence", str(tmp_path / "none.json"))
    assert missing.returncode == 66
    lonely = run("check", "--replay", CASE, "--device-evidence-chain", str(two))
    assert lonely.returncode == 64
    several = run("appraise", str(two), str(two), "--device-evidence", str(two))
    assert several.returncode == 64
    assert "goes with one FILE" in several.stderr


def test_the_public_samples_name_their_products(run: Run, samples: Path) -> None:
    pair = ("--chain", str(samples / "hopperCertChain.txt"))
    for words, product in (
        ((str(samples / "hopper_evidence.json"),), "h100-sxm5-80gb"),
        ((str(samples / "hopperAttestationReport.txt"), *pair), "h100-pcie-80gb"),
    ):
        done = run("device-evidence", "verify", *words, "--json")
        assert done.returncode == 3, done.stderr
        (device,) = json.loads(done.stdout)["devices"]
        assert device["signed"]["products"] == [product]
