"""A real report, made by our own code at test time, in all its forms and with both kinds of key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

sys.path.insert(0, str(Path(__file__).parent))

from foreign_support import Signed

from gpuverify.codec.envelope_json import bundle_bytes, dsse_bytes
from gpuverify.model.report import PAYLOAD_TYPE, Role, SignerInfo
from gpuverify.signing.envelope import pae
from gpuverify.signing.key_files import key_path, new_key
from gpuverify.signing.keys import KINDS, open_signer
from gpuverify.signing.sshsig import ssh_signature

NODE = Path(__file__).parent / "node"
Node = Callable[..., "subprocess.CompletedProcess[str]"]


def never(prompt: str) -> str:
    raise AssertionError(prompt)


def real_payload(keyid: str) -> bytes:
    """The statement of a replayed card, as `gpuverify sign` would write it."""
    from gpuverify.appraise.engine import appraise
    from gpuverify.appraise.policies import load_policy
    from gpuverify.codec.report_json import dump_report
    from gpuverify.collect.replay import replay_case
    from gpuverify.model.sale import SaleClaim
    from gpuverify.refdb import Database
    from gpuverify.signing.build import Terms, build_report

    now_s = int(time.time())
    evidence = replay_case("ga100/a100-40gb-sold-as-80gb")
    result = appraise(
        evidence, SaleClaim(), load_policy("standard"), Database.open(), now_ms=now_s * 1000
    )
    signer = SignerInfo(name="Shop & Söhne", principal="sales@shop.example", keyid=keyid)
    terms = Terms(signer=signer, role=Role.SELLER, remarks=("<script>1</script>", "电池"))
    return dump_report(build_report(evidence, result, 0, terms, now_s=now_s))


@pytest.fixture(scope="session", params=KINDS)
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A report signed with this kind of key."""
    return _signed(request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def signed_p256(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A report signed with P-256, for the verifiers that know nothing else."""
    return _signed("ecdsa-p256", tmp_path_factory)


def _signed(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUVERIFY_HOME", str(folder / "home"))
        new_key("shop", kind, None, "")
        private = key_path("shop").read_bytes()
        signer = open_signer("shop", never)
    payload = real_payload(signer.public.keyid)
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    bundle = bundle_bytes(payload, signature, signer.public.keyid)
    (folder / "bundle.json").write_bytes(bundle)
    (folder / "bundle.json.sig").write_bytes(ssh_signature(signer, bundle))
    (folder / "dsse.json").write_bytes(dsse_bytes(payload, signature, signer.public.keyid))
    bare = json.loads(dsse_bytes(payload, signature, ""))
    del bare["signatures"][0]["keyid"]
    (folder / "no-keyid.json").write_text(json.dumps(bare, indent=2))
    (folder / "key.pem").write_text(signer.public.pem())
    (folder / "key.pub").write_text(signer.public.openssh_line("shop") + "\n")
    (folder / "private.pem").write_bytes(private)
    load_pem_private_key(private, None)
    return Signed(kind=kind, folder=folder, payload=payload, signature=signature, signer=signer)


@pytest.fixture(scope="session")
def node() -> Node:
    """`node("verify.mjs", BUNDLE, KEY)` in the folder of the npm packages."""
    found = shutil.which("node")
    if found is None or not (NODE / "node_modules" / "@sigstore" / "verify").is_dir():
        pytest.skip(f"node or its packages are not installed: npm ci in {NODE.name}")

    def call(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [found, str(NODE / script), *words],
            capture_output=True,
            text=True,
            env={**os.environ, "NODE_NO_WARNINGS": "1"},
            timeout=60,
            check=False,
        )

    return call
