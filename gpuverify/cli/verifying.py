"""What `verify`, `compare` and `show` share: the reader's demands, trust and journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuverify.codec.text import printable
from gpuverify.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from gpuverify.codec.report_units import Document
    from gpuverify.model.verification import Verification
    from gpuverify.signing.demands import Demands, Earlier, World
    from gpuverify.signing.journal import Journal

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The words of the command line: plain values, so that other processes can open the same.

    Attributes:
        trust: Trust file; the reader's own where None.
        journal: Journal; the reader's own where None.
        use_journal: Whether the journal is looked into.
        record: Whether accepted reports are written into it.
        tsa_roots: Certificates of time-stamping authorities; the reader's own where there is none.
        claim: Product or claim file.
        memory: Memory label.
        condition: Condition claimed.
        count: Boards sold.
        policy: Policy name or file.
        challenge: Challenge file.
        serial: Serial number expected.
        uuid: UUID expected.
        max_age: Longest age, as it was typed.
        role: Role expected.
        attachments: Folder with attachments.
        previous: Earlier reports.
        label: Text of a label.
        minimum_reference_version: Lowest version of reference data.
        require_timestamp: Whether a time stamp has to be there.
        accept_replayed: Whether keys of the test namespace are tried.
        now_s: Now, Unix seconds.
    """

    trust: str | None = None
    journal: str | None = None
    use_journal: bool = True
    record: bool = False
    tsa_roots: tuple[str, ...] = ()
    claim: str | None = None
    memory: str | None = None
    condition: str | None = None
    count: int | None = None
    policy: str = "standard"
    challenge: str | None = None
    serial: str | None = None
    uuid: str | None = None
    max_age: str = "30d"
    role: str | None = None
    attachments: str | None = None
    previous: tuple[str, ...] = ()
    label: str | None = None
    minimum_reference_version: str | None = None
    require_timestamp: bool = False
    accept_replayed: bool = False
    now_s: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything opened that a verification needs.

    Attributes:
        demands: What is asked of each document.
        world: What the reader trusts and knows.
        journal: The journal, None where it is not to be looked into.
    """

    demands: Demands
    world: World
    journal: Journal | None

    def with_memory(self, memory: object) -> Bench:
        """Return a bench that also knows what this run has seen.

        Args:
            memory: A `gpuverify.signing.demands.Memory`.
        """
        return replace(
            self,
            world=replace(self.world, memories=(*self.world.memories, memory)),  # type: ignore[arg-type]
        )


_TRUST_OPTIONS = (
    click.option(
        "--trust",
        metavar="FILE",
        help="Another trust file than your own (allowed_signers lines).",
    ),
    click.option("--journal", metavar="FILE", help="Another journal than your own."),
    click.option(
        "--no-journal", is_flag=True, help="Neither look into the journal nor write into it."
    ),
    click.option(
        "--tsa-root",
        "tsa_roots",
        multiple=True,
        metavar="FILE",
        help="PEM certificate of a time-stamping authority that counts. Repeatable.",
    ),
    click.option(
        "--accept-replayed",
        is_flag=True,
        help="Also look at reports of keys trusted for tests only; never exit 0.",
    ),
)


def trust_options(function: Function) -> Function:
    """Add the options about trust and time to a command.

    Args:
        function: The command's function.
    """
    for option in reversed(_TRUST_OPTIONS):
        function = option(function)
    return function


def open_bench(asked: Asked) -> Bench:
    """Read policy, claim, trust store, challenge and earlier reports.

    Args:
        asked: The words of the command line.

    Raises:
        GpuverifyError: Something that was named is missing or not what it has to be.
    """
    from gpuverify.appraise.claim import load_sale_claim
    from gpuverify.appraise.policies import load_policy
    from gpuverify.refdb import Database
    from gpuverify.signing.demands import Demands, World
    from gpuverify.signing.journal import Journal
    from gpuverify.signing.trust import TrustStore

    database = Database.open()
    journal = Journal(asked.journal) if asked.use_journal else None
    if asked.journal is not None and not Path(asked.journal).exists() and not asked.record:
        raise MissingInputError(f"{asked.journal}: no such journal; --record makes one")
    demands = Demands(
        policy=load_policy(asked.policy),
        sale=load_sale_claim(asked.claim, asked.memory, asked.condition, asked.count, database),
        challenge=_challenge(asked.challenge),
        serial=_serial(asked.serial),
        uuid=_uuid(asked.uuid),
        max_age_s=_age(asked.max_age),
        role=asked.role,
        accept_replayed=asked.accept_replayed,
        minimum_reference_version=_version(asked.minimum_reference_version),
        label_text=asked.label,
        require_timestamp=asked.require_timestamp,
        attachments=_folder(asked.attachments),
    )
    world = World(
        trust=TrustStore.load(asked.trust),
        database=database,
        now_s=asked.now_s,
        memories=() if journal is None else (journal,),
        tsa_roots=_roots(asked.tsa_roots),
    )
    if asked.previous:
        demands = replace(demands, earlier=_earlier(asked.previous, demands, world))
    return Bench(demands=demands, world=world, journal=journal)


def _challenge(path: str | None) -> Any:
    """Read the challenge that was set."""
    if path is None:
        return None
    from gpuverify.signing.challenge import read_challenge

    return read_challenge(path)


def _age(text: str) -> int | None:
    """Read --max-age."""
    if text == "none":
        return None
    from gpuverify.cli.moments import span

    return span(text, "--max-age")


def _version(text: str | None) -> str | None:
    """Check --min-refdb."""
    if text is None:
        return None
    from gpuverify.signing.stages_purpose import version_parts

    if version_parts(text) is None:
        raise UsageError("--min-refdb takes a version of reference data, such as 2026.11.21")
    return text


def _serial(text: str | None) -> str | None:
    """Read --expect-serial; labels print serial numbers in groups."""
    if text is None:
        return None
    serial = "".join(text.split())
    if not serial:
        raise UsageError("--expect-serial is empty: give the serial number on the card's label")
    return serial


def _uuid(text: str | None) -> str | None:
    """Read --expect-uuid."""
    if text is None:
        return None
    from gpuverify.codec.identity_json import member_fits

    uuid = text.strip()
    kind, _, digits = uuid.partition("-")
    if not member_fits("gpu_uuid", f"{kind.upper()}-{digits.lower()}"):
        raise UsageError(
            f"--expect-uuid {printable(uuid, 60)!r}: give it as nvidia-smi -L prints it, GPU-… in"
            " full"
        )
    return uuid


def _folder(path: str | None) -> Path | None:
    """Check --attachments."""
    if path is None:
        return None
    if not Path(path).is_dir():
        raise MissingInputError(f"{path}: no such folder")
    return Path(path)


def _roots(paths: tuple[str, ...]) -> tuple[bytes, ...]:
    """Read the certificates of time-stamping authorities.

    The reader's own are left out where the extra is missing: nothing asked for them.
    """
    from gpuverify.signing.timestamp import available, load_tsa_roots, require_available

    if paths:
        require_available()
        return tuple(root for path in paths for root in load_tsa_roots(path))
    return load_tsa_roots() if available() else ()


def documents(paths: Iterable[str]) -> Iterator[tuple[str, Document]]:
    """Yield each document of the named files with its file, streaming.

    Args:
        paths: File names; "-" for standard input.

    Raises:
        MissingInputError: A file is missing.
    """
    from gpuverify.codec.report_lines import iter_envelopes

    for path in paths:
        for document in iter_envelopes(path):
            yield path, document


def _earlier(paths: tuple[str, ...], demands: Demands, world: World) -> dict[str, Earlier]:
    """Read the earlier reports that were given, each with a trusted signature."""
    from gpuverify.model.refusal import Refusal, Refused
    from gpuverify.signing.demands import Earlier as EarlierReport
    from gpuverify.signing.verify import verify_signature_only

    found = {}
    for _, (origin, data) in documents(paths):
        verification = verify_signature_only(data, origin, demands, world)
        if verification.refusal is not None:
            reason = verification.message.partition(": ")[2]
            raise Refused(verification.refusal, f"{origin} (given with --previous): {reason}")
        if verification.report is None:
            continue  # the statement of a set: its reports stand beside it
        found[verification.payload_sha256] = EarlierReport(
            report=verification.report, payload_sha256=verification.payload_sha256, origin=origin
        )
    if not found:
        raise Refused(Refusal.CHAIN, "--previous: no report stands in the files that were given")
    return found


def verify_unit(unit: tuple[Document, ...], bench: Bench) -> tuple[Verification, ...]:
    """Verify one document, or a set with what came with it.

    Args:
        unit: As `gpuverify.codec.report_units.iter_units` yields it.
        bench: What is asked and known.
    """
    from gpuverify.signing.verify import verify_envelope, verify_set

    if len(unit) > 1:
        return verify_set(unit, bench.demands, bench.world)
    origin, data = unit[0]
    return (verify_envelope(data, origin, bench.demands, bench.world),)
