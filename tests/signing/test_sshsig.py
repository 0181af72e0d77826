"""The second signature, which ssh-keygen checks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuverify.signing.key_files import new_key
from gpuverify.signing.keys import KINDS, Signer, open_signer
from gpuverify.signing.sshsig import NAMESPACE, ssh_signature

Verify = Callable[..., "subprocess.CompletedProcess[bytes]"]
DATA = b'{"a report":1}\n' + b"x" * 3000


def never(prompt: str) -> str:
    raise AssertionError(prompt)


@pytest.fixture(params=KINDS)
def signer(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Signer:
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path / "home"))
    new_key("seller", request.param, None, "")
    return open_signer("seller", never)


@pytest.fixture
def verify(tmp_path: Path, signer: Signer) -> Verify:
    allowed = tmp_path / "allowed"
    allowed.write_text(f'seller@example namespaces="{NAMESPACE}" {signer.public.openssh_line()}\n')
    (tmp_path / "r.sig").write_bytes(ssh_signature(signer, DATA))

    def call(data: bytes, *, who: str = "seller@example", namespace: str = NAMESPACE) -> object:
        words = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", who, "-n", namespace]
        return subprocess.run(
            [*words, "-s", str(tmp_path / "r.sig")], input=data, capture_output=True, check=False
        )

    return call  # type: ignore[return-value]


@pytest.mark.required
def test_ssh_keygen_accepts_it(verify: Verify, signer: Signer) -> None:
    done = verify(DATA)
    assert done.returncode == 0, done.stderr
    assert b'Good "gpuverify-report" signature for seller@example' in done.stdout
    assert signer.public.keyid.encode() in done.stdout


@pytest.mark.required
def test_ssh_keygen_refuses_other_bytes_names_and_namespaces(verify: Verify) -> None:
    assert verify(DATA + b"x").returncode != 0
    assert verify(DATA, who="other@example").returncode != 0
    assert verify(DATA, namespace="file").returncode != 0


@pytest.mark.required
def test_it_looks_like_one_of_ssh_keygen(signer: Signer, tmp_path: Path) -> None:
    ours = ssh_signature(signer, DATA).splitlines()
    assert ours[0] == b"-----BEGIN SSH SIGNATURE-----"
    assert ours[-1] == b"-----END SSH SIGNATURE-----"
    assert max(map(len, ours)) == 70
    # With no trust at all ssh-keygen still checks the mathematics.
    (tmp_path / "s.sig").write_bytes(b"\n".join(ours) + b"\n")
    done = subprocess.run(
        ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(tmp_path / "s.sig")],
        input=DATA,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
