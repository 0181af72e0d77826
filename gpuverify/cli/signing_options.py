"""What `check --report-out` and `sign` share: the words of a report, and writing it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.report import Attachment, Challenge, Clock, SignerInfo
    from gpuverify.model.verdict import Result
    from gpuverify.signing.build import Terms
    from gpuverify.signing.issue import EarlierReport, Issued
    from gpuverify.signing.keys import Signer

Function = Callable[..., Any]

ROLES = ("seller", "carrier", "intake", "lab", "owner")
"""Roles of a signer; a test holds them against gpuverify.model.report."""

RELATIONS = ("received-with", "compares-to", "supersedes", "child-of")
"""What an earlier report is to this one; a test holds them against gpuverify.model.report."""

MAX_TEXT_CHARS = 2000
"""Longest remark, order or name."""

MAX_ATTACHMENT_BYTES = 2**32
"""Largest attachment: it is read once for its digest."""

_OPTIONS = (
    click.option(
        "--key",
        metavar="KEY",
        help="What signs: a key's name or file, agent:…, a pkcs11: URI or tpm:….",
    ),
    click.option(
        "--passphrase-file", metavar="FILE", help="Take the passphrase from the first line of FILE."
    ),
    click.option(
        "--principal",
        metavar="NAME",
        help="The name that buyers know the key by; else the comment of the key.",
    ),
    click.option("--signer-name", metavar="TEXT", help="Your name for people."),
    click.option("--contact", metavar="TEXT", help="How to reach you."),
    click.option(
        "--role",
        type=click.Choice(ROLES),
        help="In which capacity you sign; seller by default.",
    ),
    click.option("--challenge", metavar="FILE", help="The buyer's challenge that is answered."),
    click.option("--order", metavar="TEXT", help="Reference of the purchase."),
    click.option("--location", metavar="TEXT", help="Where it was done."),
    click.option(
        "--previous",
        multiple=True,
        metavar="REPORT",
        help="An earlier report to name by its digest. Repeatable.",
    ),
    click.option(
        "--relation",
        type=click.Choice(RELATIONS),
        help="What the earlier reports are to this one; by the role where not said.",
    ),
    click.option(
        "--attach",
        multiple=True,
        metavar="FILE",
        help="A file to name by its digest: a photo of the label. Repeatable.",
    ),
    click.option("--remark", multiple=True, metavar="TEXT", help="A remark. Repeatable."),
    click.option("--sshsig", is_flag=True, help="Write FILE.sig too, for ssh-keygen -Y verify."),
    click.option(
        "--timestamp-url", metavar="URL", help="Have the signature stamped there (RFC 3161)."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWords:
    """The options as they were given; see their helps."""

    key: str | None = None
    passphrase_file: str | None = None
    principal: str | None = None
    signer_name: str | None = None
    contact: str | None = None
    role: str | None = None
    challenge: str | None = None
    order: str | None = None
    location: str | None = None
    previous: tuple[str, ...] = ()
    relation: str | None = None
    attach: tuple[str, ...] = ()
    remark: tuple[str, ...] = ()
    sshsig: bool = False
    timestamp_url: str | None = None

    def given(self) -> tuple[str, ...]:
        """Return the options that were given."""
        return tuple(
            f"--{field.name.replace('_', '-')}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) not in (None, (), False)
        )


def report_options(function: Function) -> Function:
    """Add the options of a report to a command, which gets them as `report`.

    Args:
        function: The command's function.
    """
    names = [field.name for field in dataclasses.fields(ReportWords)]

    @functools.wraps(function)
    def gathered(*arguments: object, **options: Any) -> Any:
        words = ReportWords(**{name: options.pop(name) for name in names})
        return function(*arguments, report=words, **options)

    decorated: Function = gathered
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Everything that a report needs, opened and read before anything slow begins.

    Attributes:
        target: Where the report goes.
        replace: Whether an existing file may be replaced.
        signer: Who signs.
        terms: What the signer adds.
        earlier: Earlier reports to be named.
        sshsig: Whether a signature for ssh-keygen is written beside.
        timestamp_url: Authority of time stamps, None for none.
    """

    target: str
    replace: bool
    signer: Signer
    terms: Terms
    earlier: tuple[EarlierReport, ...]
    sshsig: bool
    timestamp_url: str | None

    def issue(self, evidence: Evidence, result: Result) -> Issued:
        """Build and sign; nothing is written yet.

        Args:
            evidence: All claims of the run.
            result: Its appraisal.

        Raises:
            GpuverifyError: As `gpuverify.signing.issue.issue`.
        """
        import time

        from gpuverify.cli.output import write_stderr
        from gpuverify.signing.issue import issue

        terms = dataclasses.replace(self.terms, clock=clock_of(evidence))
        issued, notes = issue(
            evidence,
            result,
            terms,
            self.signer,
            now_s=int(time.time()),
            earlier=self.earlier,
            stamp=self._stamp if self.timestamp_url is not None else None,
        )
        for note in notes:
            write_stderr(f"gpuverify: {note}")
        return issued

    def write(self, issued: Issued) -> None:
        """Write the report, whole or not at all, and say what was signed.

        Args:
            issued: What `issue` returned.

        Raises:
            GpuverifyError: It cannot be written, or the holder of the key refuses the second
                signature.
        """
        from gpuverify.cli.output import write_file, write_stderr
        from gpuverify.codec.text import printable
        from gpuverify.render.words import plural

        write_file(self.target, issued.data, replace=self.replace)
        if self.sshsig:
            from gpuverify.signing.sshsig import ssh_signature

            signature = ssh_signature(self.signer, issued.data)
            write_file(f"{self.target}.sig", signature, replace=self.replace)
        stated = issued.reports[0].evidence_class.value
        many = plural(len(issued.reports), "report")
        joined = "" if issued.report_set is None else f", joined by set {issued.report_set.set_id}"
        write_stderr(
            f"gpuverify: {many} of {stated} evidence, signed by {self.signer.public.keyid} as"
            f" {self.terms.signer.principal}{joined}, in {printable(self.target, 200)}"
        )
        if stated != "live":
            write_stderr(
                f"gpuverify: {_NOT_LIVE[stated]}: signed as that and as nothing else; no buyer's"
                " verify takes it for a reading of the card"
            )

    def _stamp(self, signature: bytes) -> bytes:
        """Get a time stamp over a signature."""
        from gpuverify.signing.timestamp import request_timestamp

        return request_timestamp(signature, self.timestamp_url or "")


_NOT_LIVE = {
    "replayed": "the evidence is a replay of a recording",
    "carried": "the evidence was read from a file",
    "imported": "the evidence is somebody's log",
}


def refuse_stray(words: ReportWords) -> None:
    """Refuse options of a report where none is written.

    Args:
        words: The options.

    Raises:
        UsageError: One was given.
    """
    if given := words.given():
        raise UsageError(f"{given[0]} needs --report-out FILE: there is no report to put it into")


def prepare(words: ReportWords, target: str, *, replace: bool) -> Signing:
    """Open the key and read everything that the report names.

    Args:
        words: The options.
        target: Where the report goes.
        replace: Whether an existing file may be replaced.

    Returns:
        What signs.

    Raises:
        GpuverifyError: No key, a wrong passphrase, a missing file, a text that cannot be signed.
    """
    from gpuverify.cli.output import check_writable
    from gpuverify.cli.passphrase import passphrase_from
    from gpuverify.model.report import Relation, Role
    from gpuverify.signing.build import Terms
    from gpuverify.signing.issue import earlier_reports, usual_relation
    from gpuverify.signing.keys import open_signer

    if words.key is None:
        raise UsageError("name the key that signs with --key; gpuverify key list shows yours")
    if words.sshsig and target == "-":
        raise UsageError("--sshsig writes a file beside the report; name one instead of -")
    check_writable(target, replace=replace)
    if words.sshsig:
        check_writable(f"{target}.sig", replace=replace)
    if words.timestamp_url is not None:
        from gpuverify.signing.timestamp import checked_url, require_available

        require_available()
        checked_url(words.timestamp_url)
    _check_texts(words)
    role = Role(words.role or ROLES[0])
    relation = Relation(words.relation) if words.relation else usual_relation(role)
    if words.relation is not None and not words.previous:
        raise UsageError("--relation says what --previous REPORT is to this one; give both")
    earlier = tuple(item for path in words.previous for item in earlier_reports(path, relation))
    attachments = _attachments(words.attach)
    challenge = None if words.challenge is None else _challenge(words.challenge)
    signer = open_signer(words.key, passphrase_from(words.passphrase_file))
    return Signing(
        target=target,
        replace=replace,
        signer=signer,
        terms=Terms(
            signer=_signer_info(words, signer),
            role=role,
            challenge=challenge,
            order=words.order or (challenge.order if challenge else None) or None,
            location=words.location,
            attachments=attachments,
            remarks=words.remark,
        ),
        earlier=earlier,
        sshsig=words.sshsig,
        timestamp_url=words.timestamp_url,
    )


def _check_texts(words: ReportWords) -> None:
    """Refuse a text that no reader would take."""
    from gpuverify.codec.report_text import text_fault

    named = [
        ("--signer-name", words.signer_name),
        ("--contact", words.contact),
        ("--order", words.order),
        ("--location", words.location),
        *(("--remark", text) for text in words.remark),
    ]
    for name, text in named:
        if text is None:
            continue
        if not text or len(text) > MAX_TEXT_CHARS:
            raise UsageError(f"{name}: between 1 and {MAX_TEXT_CHARS} characters")
        if fault := text_fault(text):
            raise UsageError(f"{name} holds {fault}; a report takes plain text on one line")


def _challenge(path: str) -> Challenge:
    """Read the challenge, and refuse one whose time is over."""
    import time

    from gpuverify.codec.text import printable
    from gpuverify.codec.utc_time import utc_text
    from gpuverify.signing.challenge import read_challenge

    challenge = read_challenge(path)
    if time.time() > challenge.expires_s:
        raise UsageError(
            f"{printable(path)}: the challenge ended at {utc_text(challenge.expires_s)}; ask the"
            " buyer for a new one"
        )
    return challenge


def _attachments(paths: tuple[str, ...]) -> tuple[Attachment, ...]:
    """Digest the files that travel beside the report."""
    import hashlib
    import mimetypes
    from pathlib import Path

    from gpuverify.codec.report_read import ATTACHMENT_NAME
    from gpuverify.codec.report_text import text_fault
    from gpuverify.codec.text import printable
    from gpuverify.errors import MissingInputError
    from gpuverify.model.report import Attachment

    found: list[Attachment] = []
    for path in paths:
        name = Path(path).name
        shown = printable(path, 200)
        if ATTACHMENT_NAME.fullmatch(name) is None or text_fault(name):
            raise UsageError(f"--attach {shown}: give the file a plain name")
        if any(name == other.name for other in found):
            raise UsageError(f"--attach {shown}: two files have this name; rename one")
        digest, size = hashlib.sha256(), 0
        try:
            with Path(path).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    size += len(block)
                    if size > MAX_ATTACHMENT_BYTES:
                        raise UsageError(f"--attach {shown}: larger than 4 GiB")
        except OSError as error:
            raise MissingInputError(f"--attach {shown}: {error.strerror}") from error
        found.append(
            Attachment(
                name=name,
                media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                size_bytes=size,
                sha256=digest.hexdigest(),
            )
        )
    return tuple(found)


def _signer_info(words: ReportWords, signer: Signer) -> SignerInfo:
    """Say who signs."""
    from gpuverify.codec.allowed_signers import name_fault
    from gpuverify.codec.text import printable
    from gpuverify.model.report import SignerInfo

    principal = words.principal if words.principal is not None else _comment(words.key or "")
    if not principal:
        raise UsageError(
            "the key has no comment to take a name from; say which name buyers know it by:"
            " --principal sales@reseller.example"
        )
    if fault := name_fault(principal):
        raise UsageError(
            f"{printable(principal, 60)!r} cannot be a principal ({fault}); give one with"
            " --principal, e.g. sales@reseller.example"
        )
    return SignerInfo(
        name=words.signer_name or principal,
        principal=principal,
        keyid=signer.public.keyid,
        contact=words.contact,
    )


def _comment(key: str) -> str:
    """Return the comment of a key: of its `.pub` file, or as ssh-agent gives it; "" if none."""
    from pathlib import Path

    from gpuverify.codec.files import read_bounded
    from gpuverify.signing.keys import MAX_KEY_BYTES

    if key.startswith(("pkcs11:", "tpm:")):
        return ""
    if key.startswith("agent:"):
        from gpuverify.signing.agent import agent_keys

        wanted = key.removeprefix("agent:")
        fitting = [item for item in agent_keys() if wanted in (item.comment, item.public.keyid)]
        return fitting[0].comment if len(fitting) == 1 else ""
    from gpuverify.signing.key_files import keys_dir

    named = keys_dir() / f"{key}.pub"
    beside = named if "/" not in key and named.exists() else Path(f"{key}.pub")
    try:
        words = read_bounded(str(beside), MAX_KEY_BYTES).decode("utf-8").split(None, 2)
    except (OSError, UnicodeDecodeError):
        return ""
    return words[2].strip() if len(words) == 3 else ""


_TIMEX_BYTES = 256  # struct timex has 208 bytes on 64-bit Linux
_TIME_ERROR = 5  # sys/timex.h: the clock is not synchronised


def clock_of(evidence: Evidence) -> Clock:
    """Say how the clock that the evidence was collected by is kept.

    Args:
        evidence: The evidence; only of this very machine is anything known.

    Returns:
        NTP where the kernel says that its clock is synchronised (adjtimex(2)), MANUAL where it
        says that it is not.
    """
    from gpuverify.model.evidence import EvidenceClass
    from gpuverify.model.report import Clock

    if evidence.evidence_class is not EvidenceClass.LIVE:
        return Clock.UNKNOWN
    import ctypes

    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError, TypeError):
        return Clock.UNKNOWN
    if state < 0:
        return Clock.UNKNOWN
    return Clock.MANUAL if state == _TIME_ERROR else Clock.NTP
