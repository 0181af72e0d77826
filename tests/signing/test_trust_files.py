"""The files of the trust store: modes, writers at the same time, crashes, and the real ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpuverify.errors import UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import Role
from gpuverify.signing.keys import PublicKey, load_public_key
from gpuverify.signing.trust import TrustStore, add_key, remove_key, revoke_key

SSH_KEYGEN = shutil.which("ssh-keygen")


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


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o664])
@pytest.mark.parametrize("name", ["allowed_signers", "revocations.toml"])
def test_a_store_that_others_may_write_is_refused(tmp_path: Path, mode: int, name: str) -> None:
    def change() -> object:
        if name == "allowed_signers":
            return add_key(tmp_path / name, key(TWO), principals=("c@d",), roles=(Role.LAB,))
        return revoke_key(tmp_path / "x", key(TWO).keyid, reason="superseded", at_s=1)

    (tmp_path / "allowed_signers").write_text(f"a@b {SELLER} {ONE}\n")
    (tmp_path / "revocations.toml").write_text("")
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    TrustStore.load(str(tmp_path / "allowed_signers"))
    (tmp_path / name).chmod(mode)
    with pytest.raises(Refused, match=r"others on this machine may write it.*chmod go-w") as caught:
        TrustStore.load(str(tmp_path / "allowed_signers"))
    assert caught.value.refusal is Refusal.TRUST
    with pytest.raises(Refused):
        change()


def test_a_store_in_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    path = folder / "allowed_signers"
    path.write_text(f"a@b {SELLER} {ONE}\n")
    path.chmod(0o600)
    folder.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(path)
    for way in (path, link):
        with pytest.raises(Refused, match="may replace it"):
            TrustStore.load(str(way))
    folder.chmod(0o1777)  # as /tmp: only the owner replaces a file there
    assert len(TrustStore.load(str(path)).keys) == 1


def test_adding_and_removing_keeps_every_other_byte(tmp_path: Path) -> None:
    path = tmp_path / "home" / "allowed_signers"
    added = add_key(
        path,
        key(ONE),
        principals=("sales@a.example", "a"),
        roles=(Role.SELLER, Role.CARRIER),
        valid_after_s=1767312000,
        valid_before_s=1804136760,
        comment="desk 3",
    )
    assert added.roles == (Role.SELLER, Role.CARRIER)
    assert path.read_text() == (
        'sales@a.example,a namespaces="gpuverify-report,gpuverify-role-seller,gpuverify-role-carrier"'
        f',valid-after="20260102000000Z",valid-before="20270304050600Z" {ONE} desk 3\n'
    )
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.write_text("# by hand\r\n" + path.read_text() + "\n# end, without a line feed")
    before = path.read_text()
    add_key(path, key(TWO), principals=("c@d",), roles=(Role.LAB,), test=True)
    assert path.read_text().startswith(before + "\n")
    assert TrustStore.load(str(path)).candidates(key(TWO).keyid)[0].is_test
    assert remove_key(path, key(TWO).keyid).principals == ("c@d",)
    assert path.read_text() == before + "\n"
    with pytest.raises(UsageError, match="no key"):
        remove_key(path, key(TWO).keyid)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ((), "at least one principal"),
        (("*",), "pattern"),
        (("a b",), "no blank"),
        (("a,b",), "no blank, comma"),
        (("a\nb c " + ONE,), "no blank"),
        (("a#b",), "comma, #"),
        (('a"',), "quotation mark"),
        (("",), "1 to 200"),
    ],
)
def test_names_that_would_be_read_as_something_else(
    tmp_path: Path, names: tuple[str, ...], word: str
) -> None:
    path = tmp_path / "allowed_signers"
    with pytest.raises(UsageError, match=word):
        add_key(path, key(ONE), principals=names, roles=(Role.SELLER,))
    assert not path.exists()


def test_what_is_not_added(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    add_key(path, key(ONE), principals=("a@b",), roles=(Role.SELLER,))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"is there already, in line 1, as a@b"):
        add_key(path, key(ONE), principals=("c@d",), roles=(Role.SELLER,))
    with pytest.raises(UsageError, match="never be valid"):
        add_key(
            path, key(TWO), principals=("c",), roles=(Role.LAB,), valid_after_s=9, valid_before_s=9
        )
    with pytest.raises(UsageError, match="comment"):
        add_key(
            path, key(TWO), principals=("c",), roles=(Role.LAB,), comment=f"x\na {SELLER} {ONE}"
        )
    with pytest.raises(UsageError, match="one role"):
        add_key(path, key(TWO), principals=("c",), roles=())
    assert path.read_bytes() == before
    path.write_text("broken\n")
    with pytest.raises(Refused):
        add_key(path, key(TWO), principals=("c@d",), roles=(Role.LAB,))
    assert path.read_text() == "broken\n"


def test_a_link_to_the_store_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles"
    real.mkdir()
    link = tmp_path / "allowed_signers"
    link.symlink_to(real / "signers")
    add_key(link, key(ONE), principals=("a@b",), roles=(Role.SELLER,))
    assert link.is_symlink()
    assert len(TrustStore.load(str(real / "signers")).keys) == 1


WRITER = """
import sys
from pathlib import Path
from gpuverify.model.report import Role
from gpuverify.signing.keys import load_public_key
from gpuverify.signing.trust import add_key, revoke_key
path, name, *keys = sys.argv[1:]
for number, line in enumerate(keys):
    public = load_public_key(line.encode(), "test")
    add_key(Path(path), public, principals=(f"{name}-{number}",), roles=(Role.SELLER,))
    revoke_key(Path(path), public.keyid, reason="superseded", at_s=number)
"""


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    lines = [[ed_line() for _ in range(6)] for _ in range(4)]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"w{number}", *keys])
        for number, keys in enumerate(lines)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    store = TrustStore.load(str(path))
    assert sorted(k.principals[0] for k in store.keys) == [
        f"w{writer}-{number}" for writer in range(4) for number in range(6)
    ]
    assert len(store.revocations) == 24
    assert not list(tmp_path.glob("*.part"))


def test_a_writer_that_is_killed_leaves_a_whole_store(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    keys = [ed_line() for _ in range(200)]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), "w", *keys])
    while not path.exists() or len(path.read_bytes()) < 1000:
        assert writer.poll() is None
    writer.kill()
    writer.wait()
    there = len(TrustStore.load(str(path)).keys)
    assert there > 0
    add_key(path, key(ONE), principals=("after@b",), roles=(Role.SELLER,))
    assert len(TrustStore.load(str(path)).keys) == there + 1


def test_a_store_on_a_full_disk_stays_as_it_was(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "allowed_signers"
    add_key(path, key(ONE), principals=("a@b",), roles=(Role.SELLER,))
    before = path.read_bytes()
    script = f"import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n{WRITER}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), "w", TWO],
        capture_output=True,
        text=True,
        check=False,
    )
    assert resource.RLIMIT_FSIZE is not None
    assert "OutputError" in done.stderr
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".allowed_signers.lock",
        "allowed_signers",
    ]


@pytest.mark.required
@pytest.mark.skipif(SSH_KEYGEN is None, reason="ssh-keygen is not installed")
class TestOpenSsh:
    """What we write and read is what the real ssh-keygen reads."""

    @pytest.fixture(params=["ed25519", "ecdsa"])
    def signed(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        words = ["ssh-keygen", "-q", "-t", request.param, "-N", "", "-C", "me", "-f", "k"]
        subprocess.run(words, cwd=tmp_path, check=True)
        (tmp_path / "m").write_bytes(b"a message")
        for namespace in ("gpuverify-report", "gpuverify-test"):
            words = ["ssh-keygen", "-Y", "sign", "-q", "-f", "k", "-n", namespace]
            done = subprocess.run(
                words, cwd=tmp_path, input=b"a message", check=True, capture_output=True
            )
            (tmp_path / f"{namespace}.sig").write_bytes(done.stdout)
        return tmp_path

    def verify(
        self, folder: Path, name: str, namespace: str = "gpuverify-report", at: str = ""
    ) -> bool:
        words = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", name, "-n", namespace]
        words += ["-s", f"{namespace}.sig", *(["-Overify-time=" + at] if at else [])]
        done = subprocess.run(
            words, cwd=folder, input=b"a message", capture_output=True, check=False
        )
        return done.returncode == 0

    def test_it_reads_our_lines(self, signed: Path) -> None:
        public = load_public_key((signed / "k.pub").read_bytes(), "k.pub")
        path = signed / "signers"
        add_key(path, key(ed_line()), principals=("b@b",), roles=(Role.LAB,))
        add_key(
            path,
            public,
            principals=("sales@a.example", "ann@a.example"),
            roles=(Role.SELLER, Role.LAB),
        )
        for name in ("sales@a.example", "ann@a.example"):
            assert self.verify(signed, name)
        assert not self.verify(signed, "b@b")
        assert not self.verify(signed, "sales@a.example", "gpuverify-test")
        words = [
            "ssh-keygen",
            "-Y",
            "find-principals",
            "-f",
            "signers",
            "-s",
            "gpuverify-report.sig",
        ]
        found = subprocess.run(words, cwd=signed, capture_output=True, text=True, check=True)
        assert "sales@a.example" in found.stdout
        remove_key(path, public.keyid)
        assert not self.verify(signed, "sales@a.example")
        add_key(path, public, principals=("t@t",), roles=(Role.SELLER,), test=True)
        assert self.verify(signed, "t@t", "gpuverify-test")
        assert not self.verify(signed, "t@t")

    def test_it_agrees_on_the_fingerprint_and_on_both_ends_of_the_validity(
        self, signed: Path
    ) -> None:
        public = load_public_key((signed / "k.pub").read_bytes(), "k.pub")
        listed = subprocess.run(
            ["ssh-keygen", "-lf", "k.pub"], cwd=signed, capture_output=True, text=True, check=True
        )
        assert listed.stdout.split()[1] == public.keyid
        trusted = add_key(
            signed / "signers", public, principals=("a@b",), roles=(Role.SELLER,),
            valid_after_s=1767312000, valid_before_s=1804136760,
        )  # fmt: skip
        for moment, text in (
            (1767311999, "20260101235959Z"),
            (1767312000, "20260102000000Z"),
            (1804136760, "20270304050600Z"),
            (1804136761, "20270304050601Z"),
        ):
            assert self.verify(signed, "a@b", at=text) == trusted.valid_at(moment), text

    def test_it_reads_what_we_read_by_hand(self, signed: Path) -> None:
        line = (signed / "k.pub").read_text()
        (signed / "signers").write_text(
            f'# comment\n\n a@b,c@d Namespaces="git,gpuverify-report",valid-after="20250101Z"\t{line}'
        )
        assert [k.principals for k in TrustStore.load(str(signed / "signers")).keys] == [
            ("a@b", "c@d")
        ]
        assert self.verify(signed, "c@d")


def test_the_store_is_read_by_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask says."""
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path / "a" / "b"))
    old = os.umask(0)
    try:
        from gpuverify.signing.trust import default_path

        add_key(default_path(), key(ONE), principals=("a@b",), roles=(Role.SELLER,))
        revoke_key(default_path(), key(ONE).keyid, reason="superseded", at_s=1)
    finally:
        os.umask(old)
    home = tmp_path / "a" / "b"
    assert home.stat().st_mode & 0o777 == 0o700
    names = ["allowed_signers", "revocations.toml"]
    assert {p.name: p.stat().st_mode & 0o777 for p in home.iterdir()} == dict.fromkeys(
        names + [f".{name}.lock" for name in names], 0o600
    )
