"""Measure verification against the signature check that every client has to do.

    python benchmarks/signing.py [--rounds N] [--reports N] [--many N] [--workers N]

Two yardsticks stand beside each other: the signature alone, over bytes that lie ready, to which the
budget of 12 is a ratio; and what a client without any of our rules does with the same file (parse
the envelope, decode base64, verify). All of them are measured in turn, report by report, because a
machine's speed moves while it is measured; each report's least time over the rounds counts, and the
ratio is one of sums over the reports. The reports are about cards of one lot: each has a UUID, a
serial number, a place and readings of its own. `--many` streams that many reports into
`gpuverify verify -` and prints its peak memory after a tenth of them and at the end.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuverify.model.claims import Value
    from gpuverify.model.evidence import Evidence

CASE, CLAIM, PRINCIPAL = "ga100/a100-sxm4-80gb", "a100-sxm4-80gb", "bench@seller.example"
SMALL_BYTES = 29_000
"""The size of report that the goal of 1,000 a second speaks of."""

_IDENTITY = ("gpu.uuid", "gpu.serial", "gpu.board_part_number", "pci.")


def line(what: str, value: str, goal: str = "") -> None:
    """Print one figure, beside its goal where there is one."""
    print(f"{what:<52} {value:>16}  {goal}".rstrip())


@dataclass(frozen=True)
class Signer:
    """A key pair of this run, and what trusts it."""

    private: Any
    keyid: str
    openssh: str

    @classmethod
    def new(cls) -> Signer:
        """Make an Ed25519 key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        from gpuverify.signing.keys import load_public_key

        private = Ed25519PrivateKey.generate()
        text = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        public = load_public_key(text + b"\n", "bench")
        return cls(private=private, keyid=public.keyid, openssh=text.decode())

    def trust_line(self) -> str:
        """Return the line of a trust file."""
        spaces = "gpuverify-report,gpuverify-role-seller"
        return f'{PRINCIPAL} namespaces="{spaces}" {self.openssh}\n'

    def bundle(self, payload: bytes) -> bytes:
        """Sign a payload."""
        from gpuverify.codec.envelope_json import bundle_bytes
        from gpuverify.model.report import PAYLOAD_TYPE
        from gpuverify.signing.envelope import pae

        return bundle_bytes(payload, self.private.sign(pae(PAYLOAD_TYPE, payload)), self.keyid)


class Lot:
    """Cards of one lot, after a recorded one; stated as live for the sake of the measurement."""

    def __init__(self, signer: Signer, now_s: int) -> None:
        """Read the recording."""
        from gpuverify.appraise.claim import load_sale_claim
        from gpuverify.appraise.policies import load_policy
        from gpuverify.collect.replay import replay_case
        from gpuverify.model.evidence import EvidenceClass
        from gpuverify.refdb import Database

        self._signer, self._now_s = signer, now_s
        self._evidence = replace(replay_case(CASE), evidence_class=EvidenceClass.LIVE)
        self._database = Database.open()
        self._sale = load_sale_claim(CLAIM, None, None, None, self._database)
        self._policy = load_policy("standard")
        self._chance = random.Random(1)

    def payload(self) -> bytes:
        """Return the report of another card."""
        from gpuverify.appraise import appraise
        from gpuverify.codec.report_json import dump_report
        from gpuverify.model.report import Role, SignerInfo
        from gpuverify.signing.build import Terms, build_report

        evidence = self._another()
        result = appraise(
            evidence, self._sale, self._policy, self._database, now_ms=self._now_s * 1000
        )
        info = SignerInfo(name="Bench", principal=PRINCIPAL, keyid=self._signer.keyid)
        terms = Terms(signer=info, role=Role.SELLER)
        return dump_report(build_report(evidence, result, 0, terms, now_s=self._now_s))

    def _another(self) -> Evidence:
        """Return the evidence of a card that differs in what differs from card to card."""
        from gpuverify.model.evidence import ClaimSet

        chance = self._chance
        values: dict[str, Value] = {
            "gpu.uuid": f"GPU-{uuid.UUID(int=chance.getrandbits(128))}",
            "gpu.serial": f"165{chance.randrange(10**10):010}",
            "pci.bus_id": f"00000000:{chance.randrange(1, 250):02X}:00.0",
            "inforom.config_checksum": chance.getrandbits(31),
            "power.draw_mw": chance.randrange(45_000, 70_000),
            "temperature.gpu_celsius": chance.randrange(25, 45),
            "temperature.memory_celsius": chance.randrange(25, 45),
        }
        (device,) = self._evidence.devices
        claims = [
            replace(claim, value=values[claim.id]) if claim.ok and claim.id in values else claim
            for claim in device.claims
        ]
        return replace(self._evidence, devices=(replace(device, claims=ClaimSet(tuple(claims))),))


def small_payload(payload: bytes) -> bytes:
    """Return a report of about 29 kB: the words of the checks cut, and claims left out."""
    tree = json.loads(payload)
    for check in tree["predicate"]["checks"]:
        check.update(expected="", observed=check["observed"][:40], message="")
    evidence = tree["predicate"]["evidence"]
    for part in ("counters", "host", "device"):
        while evidence[part] and len(_canonical(tree)) > SMALL_BYTES:
            kept = [claim for claim in evidence[part] if claim["id"].startswith(_IDENTITY)]
            others = [claim for claim in evidence[part] if claim not in kept]
            if not others:
                break
            evidence[part] = kept + others[: len(others) // 2]
    return _canonical(tree)


def _canonical(tree: object) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def with_another_id(payload: bytes) -> bytes:
    """Return the payload under a new report id."""
    old = json.loads(payload)["predicate"]["reportId"].encode()
    return payload.replace(old, str(uuid.uuid4()).encode(), 1)


def cpu_in_turn(
    works: Mapping[str, Callable[[int], object]], count: int, rounds: int
) -> dict[str, float]:
    """Return the CPU seconds that each kind of work takes an item, all measured side by side."""
    least = {name: [float("inf")] * count for name in works}
    for _ in range(rounds):
        for number in range(count):
            for name, work in works.items():
                start = time.process_time()
                work(number)
                took = time.process_time() - start
                least[name][number] = min(least[name][number], took)
    return {name: sum(times) / count for name, times in least.items()}


def one_size(signer: Signer, payloads: Sequence[bytes], rounds: int, now_s: int) -> None:
    """Print the figures for reports of one size."""
    from gpuverify.appraise.claim import load_sale_claim
    from gpuverify.appraise.policies import load_policy
    from gpuverify.model.report import PAYLOAD_TYPE
    from gpuverify.refdb import Database
    from gpuverify.signing.demands import Demands, World
    from gpuverify.signing.envelope import pae
    from gpuverify.signing.trust import TrustStore, parse_keys
    from gpuverify.signing.verify import verify_envelope

    database = Database.open()
    keys = parse_keys(signer.trust_line().encode(), "bench")
    world = World(trust=TrustStore(origin="bench", keys=keys), database=database, now_s=now_s + 60)
    demands = Demands(
        policy=load_policy("standard"),
        sale=load_sale_claim(CLAIM, None, None, None, database),
    )
    strict_only = replace(demands, appraise=False)
    files = [signer.bundle(payload) for payload in payloads]
    messages = [pae(PAYLOAD_TYPE, payload) for payload in payloads]
    marks = [signer.private.sign(message) for message in messages]
    public = signer.private.public_key()

    def generic(number: int) -> None:
        envelope = json.loads(files[number])["dsseEnvelope"]
        body = base64.b64decode(envelope["payload"])
        mark = base64.b64decode(envelope["signatures"][0]["sig"])
        public.verify(mark, pae(envelope["payloadType"], body))

    for data in files:
        found = verify_envelope(data, "bench", demands, world)
        if found.refusal is not None or found.result is None:
            raise SystemExit(f"the bench's own report is refused: {found.message}")
    took = cpu_in_turn(
        {
            "bare": lambda number: public.verify(marks[number], messages[number]),
            "client": generic,
            "stages": lambda number: verify_envelope(files[number], "b", strict_only, world),
            "whole": lambda number: verify_envelope(files[number], "b", demands, world),
        },
        len(files),
        rounds,
    )
    size = sum(map(len, payloads)) // len(payloads)
    bare, client, whole = took["bare"], took["client"], took["whole"]
    print(f"{len(files)} reports of {size} bytes, Ed25519")
    line("  signature alone, bytes at hand", f"{bare * 1e6:.0f} us")
    line("  generic client: parse, decode, verify", f"{client * 1e6:.0f} us")
    goal = "goal 1000/s" if size <= SMALL_BYTES else ""
    line("  all stages but the appraisal", f"{1 / took['stages']:.0f}/s", goal)
    line("  whole verification with own appraisal", f"{1 / whole:.0f}/s")
    line("  whole, to a generic client's check", f"{whole / client:.1f} x")
    line("  whole, to the signature alone", f"{whole / bare:.1f} x", "budget 12 x")


def fast_extra() -> str:
    """Say whether the fast extra is there."""
    import importlib.util

    there = all(importlib.util.find_spec(name) for name in ("msgspec", "orjson"))
    return "with the fast extra" if there else "without the fast extra"


def memory_kib(pid: int) -> int:
    """Return the memory of a process and its children, in KiB; 0 where it cannot be read."""
    total = 0
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            text = Path(f"/proc/{one}/status").read_text(encoding="ascii", errors="replace")
            tasks = Path(f"/proc/{one}/task/{one}/children").read_text(encoding="ascii")
        except OSError:
            continue
        waiting += [int(word) for word in tasks.split()]
        total += sum(int(row.split()[1]) for row in text.splitlines() if row.startswith("VmRSS:"))
    return total


def many(signer: Signer, payload: bytes, count: int, workers: int | None) -> None:
    """Stream many reports into the command and watch its memory."""
    with tempfile.TemporaryDirectory(prefix="gpuverify-bench-") as home:
        trust = Path(home) / "allowed_signers"
        trust.write_text(signer.trust_line())
        trust.chmod(0o600)
        words = [sys.executable, "-m", "gpuverify", "verify", "-", "--claim", CLAIM]
        if workers is not None:
            words += ["--workers", str(workers)]
        begun = time.monotonic()
        with subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "GPUVERIFY_HOME": home},
        ) as process:
            rows: list[int] = []
            thread = threading.Thread(target=_count_rows, args=(process, rows))
            thread.start()
            peaks = _feed(process, signer, payload, count)
            thread.join()
        seconds = time.monotonic() - begun
        print(f"{count} reports of {len(payload)} bytes streamed through the command")
        line("  rows that came back", str(sum(rows)))
        line("  wall time", f"{seconds:.0f} s, {count / seconds:.0f}/s")
        line("  peak memory of all its processes, first tenth", f"{peaks[0]} KiB")
        line("  peak memory, second half", f"{peaks[1]} KiB")


def _count_rows(process: subprocess.Popen[bytes], rows: list[int]) -> None:
    """Read what comes back and count the reports."""
    if process.stdout is not None:
        rows.append(sum(1 for row in process.stdout if b": signed by" in row))


def _feed(
    process: subprocess.Popen[bytes], signer: Signer, payload: bytes, count: int
) -> tuple[int, int]:
    """Write the reports; return the peak memory of the first tenth and of the second half."""
    if process.stdin is None:
        return 0, 0
    old = json.loads(payload)["predicate"]["reportId"].encode()
    peaks = [0, 0]
    for number in range(count):
        fresh = payload.replace(old, str(uuid.uuid4()).encode(), 1)
        process.stdin.write(signer.bundle(fresh))
        if number % max(1, count // 200) == 0:
            now = memory_kib(process.pid)
            if number <= count // 10:
                peaks[0] = max(peaks[0], now)
            elif number >= count // 2:
                peaks[1] = max(peaks[1], now)
    process.stdin.close()
    return peaks[0], peaks[1]


def main(words: Sequence[str] | None = None) -> None:
    """Read the options and measure."""
    options = argparse.ArgumentParser(description="Measure verification of signed reports.")
    options.add_argument("--rounds", type=int, default=12, help="times that all is measured")
    options.add_argument("--reports", type=int, default=40, help="reports a round")
    options.add_argument("--many", type=int, default=0, help="reports to stream through verify")
    options.add_argument("--workers", type=int, default=None, help="processes for --many")
    chosen = options.parse_args(words)
    gc.set_threshold(20_000, 50, 100)  # as the command does
    now_s = int(time.time())
    signer = Signer.new()
    lot = Lot(signer, now_s)
    rounds, reports = max(1, chosen.rounds), max(1, chosen.reports)
    full = [lot.payload() for _ in range(reports)]
    small = [small_payload(payload) for payload in full]
    print(f"Python {sys.version.split()[0]}, {fast_extra()}")
    one_size(signer, small, rounds, now_s)
    one_size(signer, full, rounds, now_s)
    if chosen.many > 0:
        many(signer, small[0], chosen.many, chosen.workers)


if __name__ == "__main__":
    main()
