"""Measure how many GPUs' attestation evidence is verified in a second of one core.

    python benchmarks/device_evidence.py [--cards N] [--rounds N] [--budget]

The evidence is made here, with keys of our own and the sizes of NVIDIA's public samples: each card
has its own leaf and device certificate and its own report; provisioner, model certificate and root
are one for all, as in a lot of one product. It is verified once with chains that were never seen,
and then as a lot is, where what many cards share was verified before. Beside it stands one bare
ECDSA verification on P-384 of the same library: a lot's evidence needs three of them a card (leaf,
device certificate, report). Least CPU time of the rounds; the budget is 150 a second and core.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "device_evidence"))

import attestation_support as made
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from gpuverify.device_evidence import chain
from gpuverify.device_evidence.verify import verify_attestation
from gpuverify.model.attestation import AttestationEvidence

BUDGET_PER_S = 150


def cards(count: int) -> list[AttestationEvidence]:
    """Return evidence of so many different cards, with 64 measurements each."""
    record = b"".join(made.block(index) for index in range(1, 65))
    found = []
    for number in range(count):
        device, leaf = (made.key(f"{what} of a bench") for what in ("device", "leaf"))
        links = made.links(f"48B02D00{number:08X}")
        composite = made.composite_device_id(made.key_info(device), made.FIRMWARE)
        extra = ((made.FIRMWARE_OID, composite, False), links[0].extra[1])
        links[0] = dataclasses.replace(links[0], key=leaf, extra=extra)
        links[1] = dataclasses.replace(links[1], key=device)
        report = made.Report(record=record, blocks=64, signer=leaf)
        found.append(
            AttestationEvidence(
                origin="a bench",
                chain=(*made.chain_of(links)[:2], *made.good_chain()[2:]),
                report=made.report_of(report),
            )
        )
    return found


def least(work: Callable[[], object], rounds: int) -> float:
    """Return the least CPU seconds that a call took."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print.

    Args:
        arguments: Command line, that of the process where not given.

    Returns:
        0; with --budget 1 where a lot is verified slower than the budget.
    """
    parser = argparse.ArgumentParser(description="How fast attestation evidence is verified.")
    parser.add_argument("--cards", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", action="store_true", help="fail where it is over the budget")
    options = parser.parse_args(arguments)
    lot = cards(options.cards)

    def verify_all() -> None:
        for one in lot:
            verify_attestation(one, now_s=made.NOW_S, nonce=made.NONCE, roots=made.ROOTS)

    def verify_unseen() -> None:
        for one in lot:
            chain._authorities.cache_clear()  # noqa: SLF001 - to be without what is kept
            verify_attestation(one, now_s=made.NOW_S, nonce=made.NONCE, roots=made.ROOTS)

    key, data = made.key("a bare one"), bytes(4096)
    signature = key.sign(data, ec.ECDSA(SHA384()))

    def verify_bare() -> None:
        for _ in lot:
            key.public_key().verify(signature, data, ec.ECDSA(SHA384()))

    bare = least(verify_bare, options.rounds) / len(lot)
    print(f"one bare P-384 verification: {bare * 1e6:.0f} us of CPU")
    rates = {}
    for what, work in (("chains never seen", verify_unseen), ("a lot", verify_all)):
        took = least(work, options.rounds) / len(lot)
        rates[what] = 1 / took
        word = "within" if 1 / took >= BUDGET_PER_S else "UNDER"
        print(
            f"attestation evidence, {what:<18} {1 / took:6.0f} /s and core"
            f" {took / bare:6.2f} x a bare verification   budget {BUDGET_PER_S} /s  {word}"
        )
    return 1 if options.budget and rates["a lot"] < BUDGET_PER_S else 0


if __name__ == "__main__":
    sys.exit(main())
