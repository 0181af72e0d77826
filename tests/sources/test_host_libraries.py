"""Which library answers, its digest and its package."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from gpuverify.model.claims import ClaimStatus
from gpuverify.model.evidence import ClaimSet
from gpuverify.sources.commands import CommandOutput, SystemCommands
from gpuverify.sources.host_libraries import (
    library_claims,
    mapped_digest_claim,
    resolved,
    tool_claim,
)
from gpuverify.sources.host_maps import mapped_files
from gpuverify.sources.host_packages import match_claim, owner_claim
from gpuverify.sources.host_tree import MachineTree

LIBRARY = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.14"
PACKAGE = "libnvidia-compute-550:amd64"
MAPS = f"""\
55d0-55d1 r-xp 00000000 08:01 10                         /usr/bin/python3.11
7f10-7f11 r--p 00000000 08:01 77                         {LIBRARY}
7f11-7f12 r-xp 00001000 08:01 77                         {LIBRARY}
7f13-7f14 rw-p 00001000 08:01 78                         /usr/lib/data.bin
7ffd-7ffe r-xp 00000000 00:00 0                          [vdso]
"""


class Commands:
    """Answers whole command lines."""

    def __init__(self, answers: dict[str, CommandOutput]) -> None:
        self.answers = answers

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        return self.answers.get(
            " ".join(argv), CommandOutput(exit_code=1, stderr=b"no path found\n")
        )


def ok(text: str, code: int = 0) -> CommandOutput:
    return CommandOutput(exit_code=code, stdout=text.encode())


def write(root: Path, path: str, content: str = "") -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


DEBIAN = {
    f"/usr/bin/dpkg-query --search {LIBRARY}": ok(
        f"diversion by nvidia from: /x\n{PACKAGE}: {LIBRARY}\n"
    ),
    f"/usr/bin/dpkg --verify {PACKAGE}": ok(""),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Debian with the driver's package, the library mapped."""
    write(tmp_path, "/proc/self/maps", MAPS)
    write(tmp_path, LIBRARY, "the library")
    write(tmp_path, "/usr/bin/python3.11", "python")
    write(tmp_path, "/usr/bin/dpkg-query")
    write(tmp_path, "/usr/bin/dpkg")
    write(
        tmp_path,
        f"/var/lib/dpkg/info/{PACKAGE}.md5sums",
        f"00112233445566778899aabbccddeeff  {LIBRARY[1:]}\n",
    )
    return tmp_path


def claims(root: Path, answers: dict[str, CommandOutput]) -> ClaimSet:
    return ClaimSet(tuple(library_claims(MachineTree(root), Commands(answers))))


def test_mapped_and_packaged(root: Path) -> None:
    found = claims(root, DEBIAN)
    assert {claim.id: claim.value for claim in found} == {
        "library.path": LIBRARY,
        "library.sha256": hashlib.sha256(b"the library").hexdigest(),
        "library.package": PACKAGE,
        "library.package_match": True,
    }


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (f"??5?????? {LIBRARY}\n", False),
        (f"??5?????? c {LIBRARY}\n", False),
        (f"missing     {LIBRARY}\n", False),
        ("??5?????? /usr/share/doc/readme\n", True),
        (f"??.?????? {LIBRARY}\n", True),
    ],
)
def test_dpkg_verify(root: Path, said: str, match: bool) -> None:
    answers = {**DEBIAN, f"/usr/bin/dpkg --verify {PACKAGE}": ok(said, 1)}
    assert claims(root, answers).value("library.package_match") is match


def test_silence_about_a_file_without_a_record_proves_nothing(root: Path) -> None:
    sums = root / f"var/lib/dpkg/info/{PACKAGE}.md5sums"
    sums.write_text(f"00112233445566778899aabbccddeeff  {LIBRARY[1:]}.1\n")
    assert claims(root, DEBIAN).read("library.package_match").status is ClaimStatus.NOT_FOUND
    sums.unlink()
    assert claims(root, DEBIAN).read("library.package_match").status is ClaimStatus.NOT_FOUND


def test_verify_that_fails_or_hangs(root: Path) -> None:
    key = f"/usr/bin/dpkg --verify {PACKAGE}"
    for output, status in (
        (CommandOutput(exit_code=1, stderr=b"locked"), ClaimStatus.FAILED),
        (CommandOutput(exit_code=2), ClaimStatus.FAILED),
        (CommandOutput(exit_code=None, timed_out=True), ClaimStatus.TIMED_OUT),
        (CommandOutput(exit_code=None, error=errno.ENOENT), ClaimStatus.NOT_FOUND),
    ):
        found = claims(root, {**DEBIAN, key: output})
        assert found.read("library.package_match").status is status


def test_merged_usr(root: Path) -> None:
    short = LIBRARY.removeprefix("/usr")
    answers = {
        f"/usr/bin/dpkg-query --search {short}": ok(f"{PACKAGE}: {short}\n"),
        f"/usr/bin/dpkg --verify {PACKAGE}": ok(f"??5?????? {short}\n", 1),
    }
    write(root, f"/var/lib/dpkg/info/{PACKAGE}.md5sums", f"00  {short[1:]}\n")
    found = claims(root, answers)
    assert found.value("library.package") == PACKAGE
    assert found.value("library.package_match") is False


def test_runfile_installation_has_no_owner(root: Path) -> None:
    found = claims(root, {})
    assert found.value("library.path") == LIBRARY
    assert found.read("library.package").status is ClaimStatus.NOT_FOUND
    assert found.read("library.package_match").status is ClaimStatus.NOT_FOUND


def test_rpm(root: Path) -> None:
    for name in ("dpkg", "dpkg-query"):
        (root / "usr/bin" / name).unlink()
    write(root, "/usr/bin/rpm")
    package = "nvidia-driver-libs-550.54.14-1.el9.x86_64"
    ask = (
        f"/usr/bin/rpm -qf --queryformat %{{NAME}}-%{{VERSION}}-%{{RELEASE}}.%{{ARCH}}\\n {LIBRARY}"
    )
    verify = f"/usr/bin/rpm -V --nodeps --noscripts {package}"
    good = {ask: ok(package + "\n"), verify: ok("")}
    assert claims(root, good).value("library.package") == package
    assert claims(root, good).value("library.package_match") is True
    bad = {**good, verify: ok(f"S.5....T.    {LIBRARY}\n", 1)}
    assert claims(root, bad).value("library.package_match") is False


@pytest.mark.parametrize("said", ["", "rubbish", "Bad Name!: /x\n", "name only:\n"])
def test_answers_that_name_no_package(root: Path, said: str) -> None:
    answers = {f"/usr/bin/dpkg-query --search {LIBRARY}": ok(said)}
    assert claims(root, answers).read("library.package").status is ClaimStatus.NOT_FOUND


def test_library_in_a_strange_place(root: Path) -> None:
    write(root, "/proc/self/maps", MAPS.replace(LIBRARY, "/tmp/fake/libnvidia-ml.so.1"))
    write(root, "/tmp/fake/libnvidia-ml.so.1", "fake")
    found = claims(root, DEBIAN)
    assert found.value("library.path") == "/tmp/fake/libnvidia-ml.so.1"
    assert found.read("library.package").status is ClaimStatus.NOT_FOUND


def test_not_mapped_follows_the_links(root: Path) -> None:
    write(root, "/proc/self/maps", "")
    (root / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.550.54.14")
    claim = claims(root, DEBIAN).read("library.path")
    assert claim.value == LIBRARY
    assert "not mapped" in claim.call


def test_replaced_after_it_was_mapped(root: Path) -> None:
    write(root, "/proc/self/maps", MAPS.replace(LIBRARY, LIBRARY + " (deleted)"))
    found = claims(root, DEBIAN)
    assert str(found.value("library.path")).endswith("(deleted)")
    assert found.read("library.sha256").status is ClaimStatus.NOT_FOUND


def test_no_library(tmp_path: Path) -> None:
    found = claims(tmp_path, {})
    assert {claim.status for claim in found} == {ClaimStatus.NOT_FOUND}
    assert len(found) == 4


def test_digest_over_mappings_changes_with_a_file(root: Path) -> None:
    tree = MachineTree(root)
    assert mapped_files(tree) == ("/usr/bin/python3.11", LIBRARY)
    first = mapped_digest_claim(tree)
    write(root, "/usr/bin/python3.11", "python, patched")
    second = mapped_digest_claim(tree)
    (root / "usr/bin/python3.11").unlink()
    third = mapped_digest_claim(tree)
    assert len({first.value, second.value, third.value}) == 3
    assert third.raw_text == "2 files, 1 of them not readable"


def test_links(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/one").symlink_to("../c/two")
    (tmp_path / "a/c").mkdir()
    (tmp_path / "a/c/two").symlink_to("/d/three")
    (tmp_path / "loop").symlink_to("loop")
    tree = MachineTree(tmp_path)
    assert resolved(tree, "/a/b/one") == "/d/three"
    assert resolved(tree, "/loop") == "/loop"


def test_tool_digest_is_of_this_machine_alone(tmp_path: Path) -> None:
    own = tool_claim(MachineTree())
    assert own.ok
    assert len(str(own.value)) == 64
    assert own.value == tool_claim(MachineTree()).value
    assert tool_claim(MachineTree(tmp_path)).status is ClaimStatus.NOT_ASKED


def test_this_machines_own_package_manager() -> None:
    path = "/bin/dpkg" if Path("/usr/bin/dpkg-query").exists() else ""
    if not path:
        pytest.skip("no dpkg here")
    tree, commands = MachineTree(), SystemCommands()
    claim, owner = owner_claim(tree, commands, "library.package", path)
    assert claim.value == "dpkg"
    assert match_claim(tree, commands, "library.package_match", owner).value is True
