"""The trust store: what it vouches for, what it refuses to be read as, who may write it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec.allowed_signers import read_allowed_signers, write_line
from gpuverify.codec.revocations_toml import Revocation, read_revocations, write_revocations
from gpuverify.errors import MissingInputError, UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import Role
from gpuverify.signing.keys import PublicKey, load_public_key
from gpuverify.signing.trust import TrustStore, parse_keys, revoke_key


def openssh(private: object) -> str:
    public = private.public_key()  # type: ignore[attr-defined]
    text: bytes = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return text.decode()


def ed_line() -> str:
    return openssh(ed25519.Ed25519PrivateKey.generate())


def key(line: str) -> PublicKey:
    return load_public_key(line.encode(), "test")


# The same in every process, for they stand in the names of tests.
ONE = openssh(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
TWO = openssh(ec.derive_private_key(7, ec.SECP256R1()))
SELLER = 'namespaces="gpuverify-report,gpuverify-role-seller"'


def refused(text: str, *words: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_keys(text.encode(), "signers")
    assert caught.value.refusal is Refusal.TRUST
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in caught.value.reason
    assert caught.value.reason.startswith("signers: ")


def test_lines_are_read_as_they_are_meant() -> None:
    text = (
        "# intake of 2026\n\n"
        f'sales@a.example,a {SELLER},valid-after="20260102Z",valid-before="202703040506Z" {ONE} Ann B\n'
        f'\tlab@b.example NAMESPACES="git,gpuverify-report,gpuverify-role-lab,gpuverify-role-intake"\t{TWO}\r\n'
        f'test@c.example namespaces="gpuverify-test" {ed_line()}'
    )
    first, second, third = parse_keys(text.encode(), "signers")
    assert first.principals == ("sales@a.example", "a")
    assert first.roles == (Role.SELLER,)
    assert (first.valid_after_s, first.valid_before_s) == (1767312000, 1804136760)
    assert (first.comment, first.line, first.public.keyid) == ("Ann B", 3, key(ONE).keyid)
    assert (second.roles, second.line, second.comment) == ((Role.LAB, Role.INTAKE), 4, "")
    assert second.public.kind == "ecdsa-p256"
    assert not second.is_test
    assert third.is_test
    assert third.roles == ()
    assert [first.valid_at(s) for s in (1767311999, 1767312000, 1804136760, 1804136761)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert second.valid_at(0)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (f"a@b {ONE}", "no namespaces"),
        (f'a@b namespaces="" {ONE}', "is empty"),
        (f'a@b namespaces="gpuverify-report,,x" {ONE}', "is empty"),
        (f'a@b namespaces="*" {ONE}', "a pattern"),
        (f'a@b namespaces="gpuverify-*" {ONE}', "a pattern"),
        (f'a@b namespaces="gpuverify-report,!gpuverify-role-lab" {ONE}', "a pattern"),
        (f'a@b namespaces="git" {ONE}', "names neither"),
        (f'a@b namespaces="gpuverify-refdb" {ONE}', "names neither"),
        (f'a@b namespaces="gpuverify-report,gpuverify-role-sellr" {ONE}', "unknown namespace"),
        (f'a@b namespaces="gpuverify_report" {ONE}', "names neither"),
        (f'a@b namespaces="gpuverify-report,gpuverify-test" {ONE}', "never signs in"),
        (f'a@b namespaces="gpuverify-report,gpuverify-report" {ONE}', "stands twice"),
        (f'a@b {SELLER},namespaces="gpuverify-report" {ONE}', "stands twice"),
        (f"* {SELLER} {ONE}", "pattern characters"),
        (f"*@b.example {SELLER} {ONE}", "pattern characters"),
        (f"a?@b {SELLER} {ONE}", "pattern characters"),
        (f"!a@b {SELLER} {ONE}", "pattern characters"),
        (f"a@b,*.example {SELLER} {ONE}", "pattern characters"),
        (f"a@b,,c {SELLER} {ONE}", "1 to 200 characters"),
        (f"{'a' * 201} {SELLER} {ONE}", "1 to 200 characters"),
        (f'"a b" {SELLER} {ONE}', "quoted principals"),
        (f"e\u0301@b {SELLER} {ONE}", "non-normalised"),
        (f"a\u200b@b {SELLER} {ONE}", "invisible"),
        (f"a@b {SELLER} {ONE} \u202egood", "invisible"),
        (f"a@b {SELLER} {ONE} \x1b[2J", "control"),
        (f"a@b cert-authority,{SELLER} {ONE}", "cert-authority is not supported"),
        (f"a@b {SELLER},cert-authority {ONE}", "cert-authority is not supported"),
        (f'a@b {SELLER},valid-before="20270101" {ONE}', "with the Z"),
        (f'a@b {SELLER},valid-before="202701010000" {ONE}', "with the Z"),
        (f'a@b {SELLER},valid-after="20260230Z" {ONE}', "with the Z"),
        (f'a@b {SELLER},valid-after="2026-02-03Z" {ONE}', "with the Z"),
        (f'a@b {SELLER},valid-after="20260101246060Z" {ONE}', "with the Z"),
        (f'a@b {SELLER},valid-after="" {ONE}', "with the Z"),
        (f'a@b {SELLER},valid-after="20270101Z",valid-before="20260101Z" {ONE}', "not earlier"),
        (f'a@b {SELLER},valid-after="20270101Z",valid-before="20270101Z" {ONE}', "not earlier"),
        (f"a@b {SELLER},no-touch-required {ONE}", "no public key"),
        (f'a@b {SELLER},command="x" {ONE}', "unknown option"),
        (f"a@b namespaces=gpuverify-report {ONE}", "straight quotes"),
        (f"a@b namespaces=“gpuverify-report” {ONE}", "straight quotes"),
        (f'a@b namespaces="gpuverify-report"x {ONE}', "straight quotes"),
        (f"a@b {SELLER}", "no public key"),
        ("a@b", "no public key"),
        (f"a@b {SELLER} ssh-ed25519 ****", "no public key"),
        (f"a@b {SELLER} ssh-ed25519 AAAA", ""),
        (f"a@b {SELLER} ecdsa-sha2-nistp256 {ONE.split()[1]}", "another algorithm"),
    ],
)
def test_what_a_line_may_not_say(line: str, word: str) -> None:
    refused(f"# head\n{line}\n", word, "line 2")


@pytest.mark.parametrize(
    "private",
    [
        rsa.generate_private_key(65537, 1024),  # noqa: S505 - the point of it
        rsa.generate_private_key(65537, 3072),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=lambda private: f"{type(private).__name__}-{private.key_size}",
)
def test_other_kinds_of_keys_are_refused_at_load(private: object) -> None:
    refused(f"a@b {SELLER} {openssh(private)}\n", "line 1")


def test_ed448_and_dsa_are_refused_at_load() -> None:
    """OpenSSH writes DSA keys no longer and never had Ed448; the lines are put together here."""
    import base64

    def line(name: str, *parts: bytes) -> str:
        blob = b"".join(len(p).to_bytes(4, "big") + p for p in (name.encode(), *parts))
        return f"a@b {SELLER} {name} {base64.b64encode(blob).decode()}\n"

    point = ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()
    refused(line("ssh-ed448", point), "line 1")
    private = dsa.generate_private_key(1024)  # noqa: S505 - the point of it
    numbers = private.public_key().public_numbers()
    parameters = numbers.parameter_numbers
    integers = (parameters.p, parameters.q, parameters.g, numbers.y)
    refused(line("ssh-dss", *(n.to_bytes(130, "big").lstrip(b"\0") for n in integers)), "line 1")


def test_a_key_has_one_line() -> None:
    refused(
        f"a@b {SELLER} {ONE}\nc@d {SELLER} {TWO}\ne@f {SELLER} {ONE} again\n", "line 3", "line 1"
    )
    refused(f'a@b {SELLER} {ONE}\na@b namespaces="gpuverify-test" {ONE}\n', "line 2")


def test_files_that_are_no_text() -> None:
    for data, word in (
        (b"\xff\xfe", "UTF-8"),
        (b"#" * 5_000_000, "MiB"),
        (b"\n" * 10_001, "lines"),
    ):
        with pytest.raises(Refused, match=word):
            parse_keys(data, "signers")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_no_text_does_anything_but_load_or_be_refused(text: str) -> None:
    for data in (
        text,
        f"a@b {text} {ONE}",
        f'a@b namespaces="{text}" {ONE}',
        f"{text} {SELLER} {ONE}",
    ):
        try:
            keys = parse_keys(data.encode("utf-8", "surrogatepass"), "signers")
        except Refused as error:
            assert error.refusal is Refusal.TRUST  # noqa: PT017 - either is right
            continue
        for found in keys:
            assert {"gpuverify-report", "gpuverify-test"} & set(found.namespaces)
            assert not set("".join(found.principals)) & set('*?!," \t')


NAMES = st.text("abcXYZ019@.-_äé采", min_size=1, max_size=12)
MOMENTS = st.none() | st.integers(0, 253_402_300_799)


@given(st.lists(NAMES, min_size=1, max_size=3), MOMENTS, MOMENTS)
def test_what_is_written_is_read(names: list[str], after: int | None, before: int | None) -> None:
    if after is not None and before is not None and after >= before:
        before = None
    line = write_line(
        principals=tuple(names),
        namespaces=("gpuverify-report", "gpuverify-role-lab"),
        public_key=f"{ONE} my key",
        valid_after_s=after,
        valid_before_s=before,
    )
    (read,) = read_allowed_signers(line.encode(), "signers")
    assert read.principals == tuple(names)
    assert (read.valid_after_s, read.valid_before_s, read.comment) == (after, before, "my key")
    assert f"{read.key_type} {read.key}" == ONE


def test_look_ups(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f"a@b {SELLER} {ONE}\nc@d {SELLER} {TWO}\n")
    store = TrustStore.load(str(path))
    assert [k.principals for k in store.candidates(key(TWO).keyid)] == [("c@d",)]
    assert store.candidates("") == store.keys
    for strange in ("SHA256:" + "A" * 43, "anything", key(TWO).keyid + "="):
        assert store.candidates(strange) == ()
    assert store.revocation(key(ONE).keyid) is None
    assert copy.deepcopy(store) == store
    assert pickle.loads(pickle.dumps(store)) == store  # noqa: S301 - to other processes of ours


def test_a_missing_store_trusts_nobody_unless_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path / "home"))
    assert TrustStore.load().keys == ()
    assert not (tmp_path / "home").exists()
    with pytest.raises(MissingInputError):
        TrustStore.load(str(tmp_path / "absent"))
    with pytest.raises(MissingInputError):
        TrustStore.load(str(tmp_path))


def test_revocations_are_data(tmp_path: Path) -> None:
    path, keyid = tmp_path / "allowed_signers", key(ONE).keyid
    path.write_text(f"a@b {SELLER} {ONE}\n")
    revoke_key(path, keyid, reason="superseded", at_s=5000)
    entry = TrustStore.load(str(path)).revocation(keyid)
    assert entry == Revocation(keyid=keyid, at_s=5000, reason="superseded")
    assert entry is not None
    assert [entry.covers(s, proven=p) for s in (4999, 5000) for p in (True, False)] == [
        False, False, True, True,
    ]  # fmt: skip
    revoke_key(path, keyid, reason="compromised", at_s=4000)
    entry = TrustStore.load(str(path)).revocation(keyid)
    assert entry is not None
    assert [entry.covers(s, proven=p) for s in (3999, 4000) for p in (True, False)] == [
        False, True, True, True,
    ]  # fmt: skip
    assert (tmp_path / "revocations.toml").stat().st_mode & 0o777 == 0o600


def test_a_revocation_is_not_weakened(tmp_path: Path) -> None:
    path, keyid = tmp_path / "allowed_signers", key(ONE).keyid
    revoke_key(path, keyid, reason="compromised", at_s=5000)
    for reason, at_s in (("superseded", 4000), ("compromised", 5001)):
        with pytest.raises(UsageError, match="by hand"):
            revoke_key(path, keyid, reason=reason, at_s=at_s)
    revoke_key(path, keyid, reason="compromised", at_s=4000)
    other = key(TWO).keyid
    revoke_key(path, other, reason="superseded", at_s=5000)
    with pytest.raises(
        UsageError, match=r"superseded since 1970-01-01T01:23:20Z.*--at 1970-01-01T"
    ):
        revoke_key(path, other, reason="compromised", at_s=6000)
    assert revoke_key(path, other, reason="compromised", at_s=5000).reason == "compromised"
    for bad in ("", "SHA256:short", keyid + "=", "MD5:00:11", "a@b"):
        with pytest.raises(UsageError, match="no fingerprint"):
            revoke_key(path, bad, reason="superseded", at_s=1)
    with pytest.raises(UsageError, match="one of superseded, compromised"):
        revoke_key(path, keyid, reason="sold", at_s=1)


KEYID = "SHA256:" + "A" * 42 + "E"
GOOD = f'[[revocation]]\nkeyid = "{KEYID}"\nat = "2026-11-21T00:00:00Z"\nreason = "superseded"\n'


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[[revocation", "not valid TOML"),
        ("revocation = 3", "other things"),
        (GOOD + "x = 1\n", "nothing else"),
        ("x = 1\n" + GOOD, "other things"),
        (GOOD.replace('at = "2026-11-21T00:00:00Z"', "at = 2026-11-21T00:00:00Z"), "in quotes"),
        (GOOD.replace("00Z", "00+00:00"), "in quotes"),
        (GOOD.replace("11-21", "02-30"), "in quotes"),
        (GOOD.replace("superseded", "Superseded"), "one of"),
        (GOOD.replace('reason = "superseded"', ""), "nothing else"),
        (GOOD.replace("SHA256:", ""), "SHA256: and 43"),
        (GOOD + GOOD, "stands twice"),
        ("revocation = [1]", "nothing else"),
    ],
)
def test_revocations_that_are_misread_are_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "allowed_signers").write_text(f"a@b {SELLER} {ONE}\n")
    (tmp_path / "revocations.toml").write_text(text)
    with pytest.raises(Refused, match=word) as caught:
        TrustStore.load(str(tmp_path / "allowed_signers"))
    assert caught.value.refusal is Refusal.TRUST


def test_revocations_are_written_as_they_are_read() -> None:
    (one,) = read_revocations(GOOD.encode(), "r")
    assert read_revocations(write_revocations([one]), "r") == (one,)
    assert read_revocations(b"", "r") == ()
