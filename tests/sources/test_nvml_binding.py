"""Which distribution the pynvml module comes from, by the files beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.sources.binding import Binding, binding_claims, find_binding


def _distribution(folder: Path, name: str, record: str = "") -> None:
    info = folder / name
    info.mkdir(parents=True)
    if record:
        (info / "RECORD").write_text(f"{record},sha256=x,1\nother.py,,\n")


def _module(folder: Path, inside: str) -> str:
    path = folder / inside
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# binding\n")
    return str(path)


def test_the_module_of_nvidia_ml_py(tmp_path: Path) -> None:
    _distribution(tmp_path, "nvidia_ml_py-13.615.71.dist-info", "pynvml.py")
    found = find_binding(_module(tmp_path, "pynvml.py"))
    assert (found.distribution, found.version, found.shadowed) == (
        "nvidia-ml-py", "13.615.71", False,
    )  # fmt: skip


def test_old_pynvml_in_front_of_it(tmp_path: Path) -> None:
    _distribution(tmp_path, "nvidia_ml_py-13.615.71.dist-info", "pynvml.py")
    _distribution(tmp_path, "pynvml-11.5.3.dist-info", "pynvml/__init__.py")
    _module(tmp_path, "pynvml.py")
    found = find_binding(_module(tmp_path, "pynvml/__init__.py"))
    assert (found.distribution, found.version, found.shadowed) == ("pynvml", "11.5.3", True)


def test_redirecting_pynvml_beside_it_shadows_nothing(tmp_path: Path) -> None:
    _distribution(tmp_path, "nvidia_ml_py-13.590.44.dist-info", "pynvml.py")
    _distribution(tmp_path, "pynvml-13.0.1.dist-info", "pynvml_utils/__init__.py")
    found = find_binding(_module(tmp_path, "pynvml.py"))
    assert (found.distribution, found.version, found.shadowed) == (
        "nvidia-ml-py", "13.590.44", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "info", "expected"),
    [
        ("pynvml/__init__.py", "pynvml-8.0.4-py3.6.egg-info", ("pynvml", "8.0.4", True)),
        ("pynvml.py", "nvidia_ml_py-12.535.161.dist-info", ("nvidia-ml-py", "12.535.161", False)),
    ],
)
def test_without_a_file_list_the_shape_decides(
    tmp_path: Path, inside: str, info: str, expected: tuple[str, str, bool]
) -> None:
    _distribution(tmp_path, info)
    found = find_binding(_module(tmp_path, inside))
    assert (found.distribution, found.version, found.shadowed) == expected


def test_vendored_module_belongs_to_nobody(tmp_path: Path) -> None:
    path = _module(tmp_path, "pynvml.py")
    claims = {claim.id: claim for claim in binding_claims(find_binding(path), 17)}
    assert claims["binding.distribution"].status is ClaimStatus.NOT_FOUND
    assert claims["binding.distribution"].raw_text
    assert claims["binding.shadowed"].value is False
    assert claims["binding.sha256"].value == hashlib.sha256(b"# binding\n").hexdigest()
    assert {claim.source for claim in claims.values()} == {Source.HOST}
    assert {claim.time_ms for claim in claims.values()} == {17}


def test_no_module_and_no_file(tmp_path: Path) -> None:
    assert find_binding(None) == Binding(path="", distribution="", version="", shadowed=False)
    assert all(
        claim.status is ClaimStatus.NOT_FOUND for claim in binding_claims(find_binding(None), 1)
    )
    inside_zip = str(tmp_path / "bundle.zip" / "pynvml.py")
    claims = {claim.id: claim for claim in binding_claims(find_binding(inside_zip), 1)}
    assert claims["binding.sha256"].status is ClaimStatus.NOT_FOUND


def test_the_installed_binding_is_found() -> None:
    pynvml = pytest.importorskip("pynvml")
    found = find_binding(pynvml.__file__)
    assert found.distribution == "nvidia-ml-py"
    assert found.version[0].isdigit()
    assert not found.shadowed
