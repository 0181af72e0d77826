"""Mutated reports: never a crash, never another payload accepted, one answer on both paths.

`GPUVERIFY_FUZZ_SECONDS` says how long the bounded run lasts, `GPUVERIFY_FUZZ_SEED` with what.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from report_support import demands, seller, seller_p256, seller_payload, server_set, world

from gpuverify.codec import fast_json, report_json
from gpuverify.codec.report_json import load_statement
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verification import StageState, Verification
from gpuverify.render.result_json import document_text
from gpuverify.render.verification_json import verification_document
from gpuverify.signing.verify import verify_envelope, verify_set

pytestmark = pytest.mark.required

SECONDS = float(os.environ.get("GPUVERIFY_FUZZ_SECONDS", "5"))
SEED = os.environ.get("GPUVERIFY_FUZZ_SEED", "gpuverify")
INSERTED = (b"\x00", b'"', b"\\", b"{", b"]", b",", b"\xff", b"\\u0000", b"1e9", b"=", b"A", b"\n")


@functools.lru_cache(maxsize=4)
def envelopes() -> tuple[bytes, ...]:
    payload = seller_payload()
    return (seller().bundle(payload), seller().dsse(payload), seller().dsse(payload, keyid=""))


def payload_sha256() -> str:
    return hashlib.sha256(seller_payload()).hexdigest()


def check(found: Verification) -> None:
    """What holds of every answer."""
    document_text(verification_document(found), compact=True)
    if found.refusal is None:
        assert found.payload_sha256 == payload_sha256()  # never another payload
        assert found.report is not None
        assert found.keyid == seller().keyid
        return
    assert found.exit_code in (4, 65)
    assert found.result is None
    assert [one.state for one in found.stages].count(StageState.REFUSED) == 1
    if not found.keyid:
        assert found.report is None
        assert found.evidence is None


def mutate(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        # Half of all changes hit the ends, where the structure is.
        span = len(out) if rng.random() < 0.5 else min(len(out), 400)
        place = rng.randrange(max(1, span))
        if rng.random() < 0.5:
            place = max(0, len(out) - 1 - place)
        kind = rng.randrange(4)
        if kind == 0 and out:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[place : place + rng.choice((1, 2, 40))]
        elif kind == 2:
            out[place:place] = rng.choice(INSERTED)
        else:
            out[place:place] = out[max(0, place - 30) : place]
    return bytes(out)


def outcome(payload: bytes) -> object:
    """What reading a payload gives: the statement, or the code of its refusal."""
    try:
        return load_statement(payload, "x")
    except Refused as refused:
        return refused.refusal


@settings(max_examples=150)
@given(
    which=st.integers(0, 2),
    place=st.integers(0, 2**20),
    kind=st.sampled_from(["flip", "drop", "insert", "cut"]),
    value=st.integers(0, 255),
)
def test_one_changed_byte(which: int, place: int, kind: str, value: int) -> None:
    data = envelopes()[which]
    at = place % len(data)
    changed = {
        "flip": data[:at] + bytes([data[at] ^ (value or 1)]) + data[at + 1 :],
        "drop": data[:at] + data[at + 1 :],
        "insert": data[:at] + bytes([value]) + data[at:],
        "cut": data[:at],
    }[kind]
    check(verify_envelope(changed, "x", demands(), world()))


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    assert verify_envelope(data, "x", demands(), world()).refusal is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def put(tree: Any, path: list[int], value: Any) -> None:
    """Put a value at a place of a tree that numbers choose."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = keys[path[0] % len(keys)]
        inner = tree[key]
        if len(path) == 1 or not isinstance(inner, (dict, list)) or not inner:
            tree[key] = value
            return
        tree, path = inner, path[1:]


@settings(max_examples=150)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=7), JSON)
def test_a_signed_tree_with_something_else_in_it(path: list[int], value: Any) -> None:
    """The seller himself signs nonsense: an answer, and the same one on both paths."""
    tree = json.loads(seller_payload())
    put(tree, path, value)
    payload = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        data = payload.encode()
    except UnicodeEncodeError:
        data = json.dumps(tree).encode()
    found = verify_envelope(seller().bundle(data), "x", demands(), world())
    document_text(verification_document(found), compact=True)
    assert found.keyid == seller().keyid
    assert found.exit_code in (0, 1, 2, 3, 4, 65)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_json, "loads", fast_json.strict_loads)
        slow = verify_envelope(seller().bundle(data), "x", demands(), world())
    assert slow == found


def test_fuzz_envelopes_and_payloads() -> None:
    rng = random.Random(SEED)
    end, number = time.monotonic() + SECONDS, 0
    _, head, members = server_set()
    while time.monotonic() < end or number < 60:
        number += 1
        told = f"seed {SEED!r}, mutant {number}"
        kind = number % 3
        if kind == 0:
            changed = mutate(rng.choice(envelopes()), rng)
            try:
                check(verify_envelope(changed, "x", demands(), world()))
            except AssertionError as error:
                raise AssertionError(f"{told}: {base64.b64encode(changed).decode()}") from error
        elif kind == 1:
            payload = mutate(seller_payload(), rng)
            fast = outcome(payload)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(report_json, "loads", fast_json.strict_loads)
                assert outcome(payload) == fast, told
        elif number % 30 == 2:
            documents = [("x", data) for data in (head, *members)]
            at = rng.randrange(len(documents))
            documents[at] = ("x", mutate(documents[at][1], rng))
            found = verify_set(documents, demands(), world())
            whole = found[0].refusal is None and found[0].exit_code == 0
            assert not whole or all(one.refusal is None for one in found), told


def test_mutants_of_a_small_document_have_one_code_on_both_paths() -> None:
    """A small statement, so that many mutants are read in a short time."""
    tree = json.loads(seller_payload())
    tree["predicate"]["checks"] = tree["predicate"]["checks"][:2]
    evidence = tree["predicate"]["evidence"]
    evidence.update(host=evidence["host"][:4], counters=[], fingerprint=[])
    named = ("gpu.uuid", "gpu.serial", "gpu.board_part_number", "pci.")
    evidence["device"] = [c for c in evidence["device"] if c["id"].startswith(named)]
    small = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    assert not isinstance(outcome(small), Refusal)
    rng = random.Random(SEED)
    mutants = [mutate(small, rng) for _ in range(10_000 if SECONDS > 60 else 2_500)]
    fast = [outcome(one) for one in mutants]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_json, "loads", fast_json.strict_loads)
        strict = [outcome(one) for one in mutants]
    assert fast == strict
    assert len(set(map(str, fast))) > 2


def test_p256_mutants_of_the_signature_are_refused() -> None:
    payload = seller_payload()
    signature = seller_p256().sign(payload)
    from gpuverify.codec.envelope_json import bundle_bytes

    for place in range(len(signature)):
        changed = bytearray(signature)
        changed[place] ^= 0x10
        data = bundle_bytes(payload, bytes(changed), seller_p256().keyid)
        assert verify_envelope(data, "x", demands(), world()).refusal is Refusal.SIGNATURE


def seeds() -> tuple[bytes, ...]:
    """What a coverage-guided fuzzer begins with."""
    return (*envelopes(), seller_payload())


def fuzz_one(data: bytes) -> None:
    """For a coverage-guided fuzzer: one input, taken as a file and as a payload.

    Args:
        data: Anything.
    """
    check(verify_envelope(data, "fuzz", demands(), world()))
    outcome(data)
