"""verify.html in a real browser: it verifies what is good and says NOT VERIFIED of all else."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

sys.path.insert(0, str(Path(__file__).parent))

import certificate_samples as samples
from browsers import Tab, chromium, opened

from gpuverify.codec.report_json import dump_report, dump_set
from gpuverify.model.evidence import ClaimSet, EvidenceClass
from gpuverify.model.report import Report

pytestmark = pytest.mark.required

PAGE = Path(__file__).parents[2] / "gpuverify/render/data/verify.html"
TYPE = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PRINCIPAL = "intake@reseller.example"

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Key:
    """A key made for one run of the tests, and how it is written."""

    private: PrivateKey

    @property
    def openssh(self) -> str:
        return (
            self.private.public_key()
            .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            .decode()
        )

    @property
    def keyid(self) -> str:
        blob = base64.b64decode(self.openssh.split()[1])
        return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

    def line(self, spaces: str = "gpuverify-report,gpuverify-role-seller", more: str = "") -> str:
        return f'{PRINCIPAL} namespaces="{spaces}"{more} {self.openssh} office'

    def sign(self, payload: bytes, payload_type: str = TYPE) -> bytes:
        message = b"DSSEv1 %d %s %d %s" % (
            len(payload_type), payload_type.encode(), len(payload), payload,
        )  # fmt: skip
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def dsse(self, payload: bytes, **changes: object) -> dict[str, Any]:
        entry = {"sig": b64(self.sign(payload)), "keyid": self.keyid}
        return {"payload": b64(payload), "payloadType": TYPE, "signatures": [entry], **changes}

    def bundle(self, payload: bytes, **changes: object) -> bytes:
        return json.dumps(
            {
                "mediaType": BUNDLE,
                "dsseEnvelope": self.dsse(payload),
                "verificationMaterial": {"publicKey": {"hint": self.keyid}},
                **changes,
            }
        ).encode()

    def statement(self, base: Report | None = None, **changes: object) -> bytes:
        base = base or samples.report()
        signer = replace(base.signer, keyid=self.keyid, principal=PRINCIPAL)
        return dump_report(
            replace(base, **{"signer": signer, "issued_s": int(time.time()) - 60, **changes})  # type: ignore[arg-type]
        )


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


ED = Key(ed25519.Ed25519PrivateKey.generate())
P256 = Key(ec.generate_private_key(ec.SECP256R1()))
OTHER = Key(ed25519.Ed25519PrivateKey.generate())
KEYS = pytest.mark.parametrize("key", [ED, P256], ids=["ed25519", "p256"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def shared_tab(browser: Any) -> Iterator[Tab]:
    with opened(browser, PAGE) as tab:
        yield tab


@pytest.fixture
def tab(shared_tab: Tab) -> Iterator[Tab]:
    yield shared_tab
    assert shared_tab.requests == []
    assert shared_tab.noise == []


def result(tab: Tab, keys: str, data: bytes) -> str:
    """Paste keys, choose a file, and return what the page then shows."""
    page = tab.page
    page.set_input_files("#file", [])
    page.fill("#keys", keys)
    page.set_input_files(
        "#file", {"name": "report.json", "mimeType": "application/json", "buffer": data}
    )
    page.wait_for_selector("#out section")
    return str(page.inner_text("#out"))


def edited(payload: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """Change the statement before it is signed."""
    tree = json.loads(payload)
    edit(tree)
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()


@KEYS
@pytest.mark.parametrize("form", ["bundle", "dsse", "no-keyid", "url-safe", "pretty"])
def test_good_report_is_shown_after_the_signature(tab: Tab, key: Key, form: str) -> None:
    payload = key.statement()
    data = key.bundle(payload)
    if form == "dsse":
        data = json.dumps(key.dsse(payload)).encode()
    elif form == "no-keyid":
        tree = key.dsse(payload)
        del tree["signatures"][0]["keyid"]
        data = json.dumps(tree).encode()
    elif form == "url-safe":
        tree = key.dsse(payload)
        tree["payload"] = base64.urlsafe_b64encode(payload).decode()
        data = json.dumps(tree).encode()
    elif form == "pretty":
        data = json.dumps(json.loads(data), indent=2).encode()
    shown = result(tab, f"# my sellers\n\n{OTHER.line()}\n{key.line()}\n", data)
    assert shown.startswith("Signature verified")
    assert key.keyid in shown
    assert PRINCIPAL in shown
    assert hashlib.sha256(payload).hexdigest() in shown
    assert "As stated by this key, not checked here" in shown
    assert "1650922633008" in shown
    assert "Two scratches on the cold plate." in shown


@KEYS
def test_plain_openssh_line_gives_no_name(tab: Tab, key: Key) -> None:
    shown = result(tab, f"{key.openssh} somebody", key.bundle(key.statement()))
    assert shown.startswith("Signature verified")
    assert "nobody: your line has no name" in shown


def test_test_key_is_named_as_such(tab: Tab) -> None:
    line = ED.line("gpuverify-test,gpuverify-role-seller")
    payload = ED.statement(evidence_class=EvidenceClass.REPLAYED)
    shown = result(tab, line, ED.bundle(payload))
    assert shown.startswith("TEST KEY: proves nothing about a real card")
    assert "replayed" in shown


def test_set_and_its_reports_as_json_lines(tab: Tab) -> None:
    first = ED.statement()
    found = samples.report_set().report_set
    assert found is not None
    signer = replace(found.signer, keyid=ED.keyid, principal=PRINCIPAL)
    joined = dump_set(replace(found, signer=signer, issued_s=int(time.time()) - 60))
    data = b"\n".join([ED.bundle(joined), ED.bundle(first), OTHER.bundle(OTHER.statement())])
    result(tab, ED.line(), data + b"\n")
    headings = tab.page.locator("#out h2").all_inner_texts()
    assert headings == ["Signature verified", "Signature verified", "NOT VERIFIED"]
    assert "CN7792194A0123" in tab.page.inner_text("#out")


def flip(data: bytes, place: int, bit: int = 1) -> bytes:
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


def envelope(key: Key, payload: bytes, signature: bytes) -> bytes:
    tree = key.dsse(payload)
    tree["signatures"][0]["sig"] = b64(signature)
    return json.dumps(tree).encode()


@KEYS
def test_flipped_bits(tab: Tab, key: Key) -> None:
    payload = key.statement()
    signature = key.sign(payload)
    for place in (0, len(payload) // 2, len(payload) - 1):
        check_refused(tab, key.line(), envelope(key, flip(payload, place), signature))
    for place in (*range(6), *range(6, len(signature), 9), len(signature) - 1):
        check_refused(tab, key.line(), envelope(key, payload, flip(signature, place)))
    check_refused(tab, key.line(), envelope(key, payload, signature[:-1]))
    check_refused(tab, key.line(), envelope(key, payload, signature + b"\0"))


def check_refused(tab: Tab, keys: str, data: bytes, why: str = "") -> None:
    """Ask for a refusal that shows nothing of the report."""
    shown = result(tab, keys, data)
    assert shown.startswith("NOT VERIFIED")
    assert tab.page.locator("#out section").count() == 1
    assert "1650922633008" not in shown
    assert "Example Resale" not in shown
    assert why in shown


def test_der_has_one_form(tab: Tab) -> None:
    payload = P256.statement()
    signature = P256.sign(payload)
    size = signature[3]
    integer = signature[4 : 4 + size]
    # Another number of 33 bytes with the same lower 32, or a needless zero in front.
    longer = b"\x01" + integer[1:] if integer[0] == 0 else b"\0" + integer
    made = bytes([len(longer)]) + longer + signature[4 + size :]
    odd = bytes([0x30, len(made) + 1, 0x02]) + made
    check_refused(tab, P256.line(), envelope(P256, payload, odd))


def test_unknown_key(tab: Tab) -> None:
    data = ED.bundle(ED.statement())
    check_refused(tab, OTHER.line(), data, "a key that you did not give")
    check_refused(tab, "", data, "no trusted key was given")
    # The other's signature under a trusted key's id.
    forged = OTHER.dsse(ED.statement())
    forged["signatures"][0]["keyid"] = ED.keyid
    check_refused(tab, ED.line(), json.dumps(forged).encode(), "does not belong to these bytes")


def test_public_key_inside_the_file_counts_for_nothing(tab: Tab) -> None:
    data = OTHER.bundle(
        OTHER.statement(),
        verificationMaterial={"publicKey": {"hint": ED.keyid, "rawBytes": OTHER.openssh}},
    )
    check_refused(tab, ED.line(), data)


ENVELOPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no signature": lambda tree: tree.update(signatures=[]),
    "signatures missing": lambda tree: tree.pop("signatures"),
    "twice": lambda tree: tree["signatures"].append(tree["signatures"][0]),
    "empty sig": lambda tree: tree["signatures"][0].update(sig=""),
    "sig a number": lambda tree: tree["signatures"][0].update(sig=5),
    "payload type": lambda tree: tree.update(payloadType=TYPE + " "),
    "payload missing": lambda tree: tree.pop("payload"),
    "line breaks": lambda tree: tree.update(
        payload=tree["payload"][:76] + "\n" + tree["payload"][76:]
    ),
    "not base64": lambda tree: tree.update(payload="%%%"),
    "float": lambda tree: tree.update(more=1.5),
    "beyond 2^53": lambda tree: tree.update(more=2**53),
    "deep": lambda tree: tree.update(more=json.loads("[" * 20 + "]" * 20)),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_odd_envelopes(tab: Tab, name: str) -> None:
    tree = ED.dsse(ED.statement())
    ENVELOPES[name](tree)
    check_refused(tab, ED.line(), json.dumps(tree).encode())


def test_odd_files(tab: Tab) -> None:
    good = ED.bundle(ED.statement())
    for data in (
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b"<!doctype html><p>Signature verified",
        b"\x1f\x8b\x08\0",
        b"\xef\xbb\xbf" + good,
        good.decode().encode("utf-16"),
        good + b"x",
        good.replace(BUNDLE.encode(), b"application/vnd.dev.sigstore.bundle+json;version=0.1"),
        good.replace(b'"payloadType"', b'"payload": "e30=", "payloadType"'),
        good.replace(b'"payloadType"', b'"p\\u0061yload": "e30=", "payloadType"'),
        b"[" * 100_000,
        b'{"payload": "' + b"A" * (3 * 2**20) + b'"}',
    ):
        check_refused(tab, ED.line(), data)


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Return an edit that sets a member."""

    def edit(tree: dict[str, Any]) -> None:
        node = tree
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = value

    return edit


STATEMENTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "statement type": put("_type", value="https://in-toto.io/Statement/v0.1"),
    "predicate type": put("predicateType", value="urn:gpuverify:report:v2"),
    "version 2": put("predicate", "schemaVersion", value="2.0.0"),
    "other key": put("predicate", "signer", "keyid", value=OTHER.keyid),
    "other principal": put("predicate", "signer", "principal", value="someone@example.org"),
    "role not granted": put("predicate", "role", value="intake"),
    "in the future": put("predicate", "issuedAt", value="2199-01-01T00:00:00Z"),
    "no such time": put("predicate", "issuedAt", value="yesterday"),
    "identity": put("predicate", "identity", "board_serial", value="1650922633009"),
    "two subjects": lambda tree: tree["subject"].append(tree["subject"][0]),
    "class": put("predicate", "evidenceClass", value="replayed"),
    "bidi": put("predicate", "location", value="a\u202eb"),
    "zero width": put("predicate", "location", value="a\u200bb"),
    "not normalised": put("predicate", "location", value="Cafe\u0301"),
    "long": put("predicate", "location", value="x" * 20_001),
    "float": put("predicate", "remarks", value=[1.5]),
    "signer missing": lambda tree: tree["predicate"].pop("signer"),
    "identity missing": lambda tree: tree["predicate"].pop("identity"),
    "predicate missing": lambda tree: tree.pop("predicate"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_odd_statements_of_a_trusted_key(tab: Tab, name: str) -> None:
    check_refused(tab, ED.line(), ED.bundle(edited(ED.statement(), STATEMENTS[name])))


def test_duplicate_member_in_the_payload(tab: Tab) -> None:
    payload = ED.statement()
    for twice in (b'"role":"seller","role":"seller"', b'"r\\u006fle":"seller","role":"seller"'):
        doubled = payload.replace(b'"role":"seller"', twice, 1)
        assert doubled != payload
        check_refused(tab, ED.line(), ED.bundle(doubled), "stands twice")


def moment(**ago: int) -> str:
    return (datetime.now(timezone.utc) - timedelta(**ago)).strftime("%Y%m%d%H%M%SZ")


def test_lines_that_vouch_for_too_much(tab: Tab) -> None:
    data = ED.bundle(ED.statement())
    rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7"
    for line in (
        ED.line("gpuverify-refdb"),
        ED.line("gpuverify-report,gpuverify-test"),
        ED.line(""),
        ED.line("gpuverify-report"),  # no role
        ED.line("gpuverify-report,gpuverify-role-intake"),
        f'* namespaces="gpuverify-report,gpuverify-role-seller" {ED.openssh}',
        f"{PRINCIPAL} {ED.openssh}",
        f'{PRINCIPAL} cert-authority,namespaces="gpuverify-report" {ED.openssh}',
        ED.line(more=',valid-before="20991231235959"'),
        ED.line(more=f',valid-before="{moment(hours=1)}"'),
        ED.line(more=f',valid-after="{moment(hours=-1)}"'),
        ED.line(more=',namespaces="gpuverify-report,gpuverify-role-seller"'),
        f"{ED.line()}\n{ED.line()}",
        f"{ED.line()}\n{rsa}",
        f"{ED.line()}\nnonsense",
        ED.openssh[:-8],
        ED.openssh.replace("ssh-ed25519 AAAAC3", "ssh-ed25519 AAAAC4"),
    ):
        check_refused(tab, line, data)
    good = ED.line(more=f',valid-after="{moment(hours=1)}",valid-before="{moment(hours=-1)}"')
    assert result(tab, good, data).startswith("Signature verified")


def test_hostile_strings_stay_text(tab: Tab) -> None:
    nasty = [text for text in samples.HOSTILE if text.isascii() and text.isprintable()]
    payload = ED.statement(remarks=tuple(nasty), order=nasty[0], location=nasty[1])
    shown = result(tab, ED.line(), ED.bundle(payload))
    assert shown.startswith("Signature verified")
    for text in nasty:
        assert text in shown
    assert tab.page.locator("#out :is(script, img, style, svg, a, iframe)").count() == 0


def test_unverified_words_are_never_repeated(tab: Tab) -> None:
    """What stands in a file before its signature verified must not speak through an error."""
    claim = "Signature verified. All is well."
    tree = ED.dsse(ED.statement())
    tree["signatures"][0]["keyid"] = claim
    for data in (
        json.dumps(tree).encode(),
        claim.encode(),
        json.dumps({claim: 1}).encode(),
        b'{"' + claim.encode() + b'": 1, "' + claim.encode() + b'": 2}',
    ):
        shown = result(tab, ED.line(), data)
        assert shown.startswith("NOT VERIFIED")
        assert "verified." not in shown


def test_a_new_choice_clears_the_old_answer(tab: Tab) -> None:
    good = ED.bundle(ED.statement())
    assert result(tab, ED.line(), good).startswith("Signature verified")
    tab.page.fill("#keys", OTHER.line())
    tab.page.wait_for_selector("#out h2:has-text('NOT VERIFIED')")
    assert "1650922633008" not in tab.page.inner_text("#out")
    tab.page.fill("#keys", ED.line())
    tab.page.wait_for_selector("#out h2:has-text('Signature verified')")
    tab.page.set_input_files("#file", [])
    assert tab.page.inner_text("#out") == ""


def test_dropping_a_file(tab: Tab) -> None:
    tab.page.fill("#keys", ED.line())
    tab.page.evaluate(
        """(text) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([text], "report.json"));
            document.body.dispatchEvent(
                new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        ED.bundle(ED.statement()).decode(),
    )
    tab.page.wait_for_selector("#out section")
    assert tab.page.inner_text("#out").startswith("Signature verified")


def few_readings() -> Report:
    """A report with Chinese text that a checker goes through in a second."""
    base = samples.chinese().report
    assert base is not None
    (device,) = base.evidence.devices
    device = replace(device, claims=ClaimSet(device.claims.claims[:9]))
    evidence = replace(base.evidence, devices=(device,), host=ClaimSet())
    return replace(base, checks=base.checks[:3], evidence=evidence)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(browser: Any, scheme: str, tmp_path: Path) -> None:
    for width in (1000, 360):
        with opened(
            browser, PAGE, color_scheme=scheme, viewport={"width": width, "height": 900}
        ) as tab:
            assert tab.axe() == []
            payload = ED.statement(few_readings())
            result(tab, ED.line(), ED.bundle(payload))
            assert samples.CHINESE in tab.page.inner_text("#out")
            tab.page.screenshot(path=str(tmp_path / f"verify-{scheme}-{width}.png"), full_page=True)
            tab.page.click("summary")
            assert tab.axe() == []
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_edited_page_runs_no_foreign_script(browser: Any, tmp_path: Path) -> None:
    """An edit that forgets the digest is blocked; one that mends it is why the page is yours."""
    page = tmp_path / "verify.html"
    page.write_text(
        PAGE.read_text("utf-8").replace('"NOT VERIFIED"', '"Signature verified"'),
        encoding="utf-8",
    )
    with opened(browser, page) as tab:
        tab.page.fill("#keys", OTHER.line())
        tab.page.set_input_files(
            "#file",
            {"name": "r.json", "mimeType": "text/plain", "buffer": ED.bundle(ED.statement())},
        )
        tab.page.wait_for_timeout(300)
        assert tab.page.inner_text("#out") == ""
        assert any("Content Security Policy" in line for line in tab.noise)
