"""What the chip signed (Hopper and later), against the sale and against what the driver told.

Attestation evidence is verified before the rules run. It binds *a* chip; that it is the card in
this slot is shown where the identifier in the certificate is the one that NVML gives for the card
(the PDI) and the report answers a nonce of ours. Only then does it count as device-signed.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpuverify.model.attestation import same_identifier
from gpuverify.model.claims import Basis, Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.part_numbers import (
    parse_board_part_number,
    parse_gpu_part_number,
    parse_inforom_image,
)
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.rules.compare import (
    NO_PRODUCT,
    NO_VALUE,
    NOT_FOR_PRODUCT,
    absent,
    cite,
    finding,
    name_of,
    other_holders,
    says,
)
from gpuverify.rules.constants import FROM_DEVICE_CERTIFICATE
from gpuverify.rules.environment import NOT_FOR_LOG
from gpuverify.rules.on_file import cite_reference, own_values, some, values_text

_TRAIT = "device-certificate"
_SOURCES = (
    "DMTF DSP0274 (SPDM 1.1), GET_MEASUREMENTS",
    "NVIDIA/nvtrust, local_gpu_verifier (fields of the report)",
)
HOW = (
    "the driver answers in confidential-computing or protected PCIe mode only; switching a card to"
    " it takes a reset and stops other work, so gpuverify never does it"
)
VERIFIED = "verified"


def signed(subject: Subject, name: str) -> Claim:
    """Return a claim that verified attestation evidence makes."""
    return subject.device.claims.get("signed." + name, FROM_DEVICE_CERTIFICATE)


def is_verified(subject: Subject) -> bool:
    """Whether attestation evidence is there and stands."""
    return signed(subject, "state").value == VERIFIED


def is_bound(subject: Subject) -> bool:
    """Whether verified evidence is this card's, and answers a nonce of ours.

    The PDI in somebody's log is text that anyone can edit: it binds nothing.
    """
    pdi = subject.value("gpu.pdi")
    own = signed(subject, "device_identifier").value
    return (
        is_verified(subject)
        and not subject.imported
        and isinstance(pdi, str)
        and isinstance(own, str)
        and same_identifier(pdi, own)
        and signed(subject, "nonce_bound").value is True
    )


def _nothing(rule: Rule, subject: Subject) -> Finding | None:
    """Say why there is nothing to compare, None where there is."""
    said = subject.device.claims
    state, product = said.get("signed.state", FROM_DEVICE_CERTIFICATE), subject.product
    if state.value == VERIFIED:
        return None
    if state.value is None and product is not None and not product.has(_TRAIT):
        return finding(rule, "not-for-product", expected=product.name)
    report = said.get("attestation.report", FROM_DEVICE_CERTIFICATE)
    return absent(rule, report, remedy=HOW)


def _check_evidence(subject: Subject) -> Iterator[Finding]:
    """Say whether the chip signed, and how much that is worth."""
    rule, state = EVIDENCE, signed(subject, "state")
    if subject.imported and not state.ok:
        yield finding(rule, "imported")
        return
    if not state.ok:
        nothing = _nothing(rule, subject)
        if nothing is not None:
            yield nothing
        return
    if state.value != VERIFIED:
        yield finding(
            rule,
            "does-not-stand",
            observed=f"{signed(subject, 'detail').value} ({state.value})",
            claims=cite(state),
        )
        return
    who = f"{signed(subject, 'model_name').value} {signed(subject, 'device_serial').value}"
    cited = cite(state, signed(subject, "device_serial"))
    if is_bound(subject):
        yield finding(rule, "signed", observed=who, basis=Basis.DEVICE_SIGNED, claims=cited)
    elif signed(subject, "nonce_bound").value is True:
        yield finding(rule, "some-card", observed=who, claims=cited)
    else:
        yield finding(rule, "age-unknown", observed=who, claims=cited)


EVIDENCE = Rule(
    id="environment.device-evidence",
    title="What the chip signed stands",
    axis=Axis.ENVIRONMENT,
    group=Group.DETAIL,
    codes=(
        Code(
            id="signed",
            outcome=Outcome.PASS,
            text="{observed}: a certificate that ends in NVIDIA's device root, a report over a"
            " nonce of ours, and the identifier that NVML gives for this card.",
        ),
        Code(
            id="some-card",
            outcome=Outcome.NOTE,
            text="Some card, {observed}, signed a nonce of ours; that it is the one in this slot"
            " is not shown, for NVML gives no equal identifier (PDI).",
        ),
        Code(
            id="age-unknown",
            outcome=Outcome.NOTE,
            text="Some card, {observed}, signed at a time that is not known: the nonce in the"
            " report is not one of ours.",
        ),
        Code(
            id="does-not-stand",
            outcome=Outcome.WARN,
            text="Attestation evidence was given and does not stand: {observed}.",
        ),
        NOT_FOR_LOG,
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="A chip with a key that NVIDIA certified signed the report; chain, signature, nonce and "
    "firmware id were verified offline.",
    limit="Revocation and NVIDIA's reference measurements need a network and are not checked. A "
    "host may pass the question on to another card: hence the identifier.",
    near_miss="A card in its ordinary mode, which does not sign: nothing was seen, nothing is said "
    "against it.",
    references=_SOURCES,
    check=_check_evidence,
)


def _check_product(subject: Subject) -> Iterator[Finding]:
    """Compare the signed board project, SKU and chip SKU with the product's."""
    rule, product = PRODUCT, subject.product
    nothing = _nothing(rule, subject)
    if nothing is not None:
        yield nothing
        return
    if product is None:
        yield finding(rule, "no-product")
        return
    board, chip = signed(subject, "inforom_sku"), signed(subject, "chip_sku")
    sku, number = str(board.value), str(chip.value)
    own = own_values(subject, "inforom.sku")
    chips = own_values(subject, "gpu.chip_sku")
    own_chips = {str(value.value).partition("-")[2] for value in chips}
    others = other_holders(subject, "inforom.sku", sku)
    bound = is_bound(subject)
    basis = Basis.DEVICE_SIGNED if bound else Basis.REPORTED
    cited, reference = cite(board, chip), cite_reference((*own, *chips))
    seen = f"board {sku}, chip SKU {number}"
    is_own = any(value.value == sku for value in own)
    if is_own and (not own_chips or number in own_chips):
        yield finding(
            rule,
            "own-product" if bound else "some-own-product",
            observed=seen,
            expected=name_of(subject),
            basis=basis,
            claims=cited,
            reference=reference,
            field="inforom.sku" if bound else "",
            value=sku if bound else None,
        )
    elif others and not is_own:
        yield finding(
            rule,
            "other-product",
            observed=f"{seen}, which is on file for {some(others)}",
            expected=f"{name_of(subject)} ({values_text(own) or 'board SKU not on file'})",
            basis=basis,
            claims=cited,
            reference=reference,
        )
    else:
        yield finding(rule, "not-on-file", observed=seen, claims=cited, reference=reference)


PRODUCT = Rule(
    id="identity.device-signed-product",
    title="Board and chip that the chip signed, against the product sold",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(
            id="own-product",
            outcome=Outcome.PASS,
            text="The chip signed {observed}: {expected}.",
        ),
        Code(
            id="some-own-product",
            outcome=Outcome.NOTE,
            text="Some card signed {observed}: {expected}; that it is this card is not shown.",
        ),
        Code(
            id="other-product",
            outcome=Outcome.FAIL,
            text="The chip signed {observed}; expected {expected}.",
        ),
        Code(
            id="not-on-file",
            outcome=Outcome.INCONCLUSIVE,
            text="The chip signed {observed}, which is not on file for any product.",
        ),
        NO_PRODUCT,
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="The product, by the chip's own signature: 885 is an H100, 865 an H800.",
    limit="Nothing about memory, condition or history. Hopper and later only.",
    near_miss="A project and SKU that nobody has seen leave the question open.",
    references=_SOURCES,
    check=_check_product,
)


def _check_told(subject: Subject) -> Iterator[Finding]:
    """Compare what was signed with what the driver told."""
    rule = TOLD
    nothing = _nothing(rule, subject)
    if nothing is not None:
        yield nothing
        return
    same: list[str] = []
    different: list[str] = []
    cited: list[Claim] = []
    for label, claim, told, wanted in _told(subject):
        cited.append(claim)
        (same if told == wanted else different).append(
            f"{label} {told}" if told == wanted else f"{says(claim, told)}, signed {wanted}"
        )
    if not cited:
        yield absent(rule, subject.read("inforom.image_version"))
        return
    bound = is_bound(subject)
    code = "agrees" if not different else "differs" if bound else "another-card"
    yield finding(
        rule,
        code,
        observed=some(different or same),
        basis=Basis.DEVICE_SIGNED if bound else Basis.REPORTED,
        claims=cite(signed(subject, "inforom_sku"), *cited),
    )


def _told(subject: Subject) -> Iterator[tuple[str, Claim, str, str]]:
    """Yield what, who said it, what was told and what was signed, where both are readable."""
    sku = str(signed(subject, "inforom_sku").value)
    chip = str(signed(subject, "chip_sku").value)
    image = subject.read("inforom.image_version")
    parsed_image = parse_inforom_image(image.value) if isinstance(image.value, str) else None
    if parsed_image is not None:
        yield "InfoROM", image, f"{parsed_image.project}.{parsed_image.sku}", sku
    board = subject.read("gpu.board_part_number")
    parsed_board = parse_board_part_number(board.value) if isinstance(board.value, str) else None
    if parsed_board is not None and len(parsed_board.project) == 4:
        yield "board", board, f"{parsed_board.project}.{parsed_board.sku}", sku
    part = subject.read("gpu.gpu_part_number")
    parsed_part = parse_gpu_part_number(part.value) if isinstance(part.value, str) else None
    if parsed_part is not None:
        yield "chip SKU", part, parsed_part.chip_sku, chip
    vbios = subject.read("gpu.vbios_version")
    if isinstance(vbios.value, str):
        yield "VBIOS", vbios, vbios.value, str(signed(subject, "vbios_version").value)


TOLD = Rule(
    id="lattice.device-signed",
    title="What the driver tells, against what the chip signed",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="agrees", outcome=Outcome.PASS, text="Told and signed alike: {observed}."),
        Code(
            id="differs",
            outcome=Outcome.FAIL,
            text="The driver tells another story than the chip signed: {observed}.",
        ),
        Code(
            id="another-card",
            outcome=Outcome.WARN,
            text="The attestation evidence is not this card's, or the driver lies: {observed}.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="InfoROM image, part numbers and VBIOS version are those that the chip signed.",
    limit="Only what both sides name.",
    near_miss="Fields that the driver does not print are left out.",
    references=_SOURCES,
    check=_check_told,
)


def _check_vbios(subject: Subject) -> Iterator[Finding]:
    """Look the signed VBIOS version up among those on file."""
    rule = VBIOS
    nothing = _nothing(rule, subject)
    if nothing is not None:
        yield nothing
        return
    claim = signed(subject, "vbios_version")
    own = [v for v in own_values(subject, "gpu.vbios_version") if v.value == claim.value]
    yield finding(
        rule,
        "on-file" if own else "not-on-file",
        observed=f"VBIOS {claim.value}",
        basis=Basis.DEVICE_SIGNED if is_bound(subject) else Basis.REPORTED,
        claims=cite(claim),
        reference=cite_reference(own),
    )


VBIOS = Rule(
    id="identity.device-signed-vbios",
    title="Signed VBIOS version among those on file",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="on-file", outcome=Outcome.PASS, text="{observed} is on file for the product."),
        Code(
            id="not-on-file",
            outcome=Outcome.NOTE,
            text="{observed} is not on file; NVIDIA publishes manifests for some versions only.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="The version is one that was seen on the product, or that NVIDIA published a manifest "
    "for.",
    limit="The list confirms and never accuses: many good cards run versions that are not on it.",
    near_miss="A version that is not on file is a note.",
    references=("NVIDIA/nvtrust, names of the reference manifests",),
    check=_check_vbios,
)


def _check_identifier(subject: Subject) -> Iterator[Finding]:
    """Say whether the certificate's identifier is NVML's PDI."""
    rule = IDENTIFIER
    nothing = _nothing(rule, subject)
    if nothing is not None:
        yield nothing
        return
    own, pdi = signed(subject, "device_identifier"), subject.read("gpu.pdi")
    if not isinstance(own.value, str) or not isinstance(pdi.value, str):
        yield absent(rule, own if not own.ok else pdi)
        return
    same = same_identifier(pdi.value, own.value)
    yield finding(
        rule,
        "equal" if same else "different",
        observed=f"the certificate names {own.value}, {says(pdi)}",
        basis=Basis.DEVICE_SIGNED if same else Basis.REPORTED,
        claims=cite(own, pdi),
    )


IDENTIFIER = Rule(
    id="identity.device-identifier",
    title="Identifier in the chip's certificate and NVML's PDI",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="equal", outcome=Outcome.PASS, text="One chip: {observed}."),
        Code(
            id="different",
            outcome=Outcome.NOTE,
            text="Not shown to be this card: {observed}. No public document says that the two are"
            " the same number, so nothing follows.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="The certified chip is the one that NVML speaks of.",
    limit="That the certificate's name holds the PDI is an inference from its shape; it was not "
    "seen beside NVML's on a card yet. NVML can be forged to say it.",
    near_miss="A driver without the PDI call, and a certificate without the name.",
    references=("nvml.h, nvmlDeviceGetPdi", "DMTF DSP0274, subjectAltName of device certificates"),
    check=_check_identifier,
)


def _check_clone(batch: BatchSubject) -> Iterator[Finding]:
    """Find one chip's certificate under two UUIDs."""
    rule = CLONE
    cards = [card for card in batch.cards if is_verified(card)]
    if not cards:
        yield finding(rule, "none-signed")
        return
    uuids: dict[str, dict[str, Subject]] = {}
    for card in cards:
        key = str(signed(card, "device_key_sha256").value)
        uuid = card.value("gpu.uuid")
        if isinstance(uuid, str):
            uuids.setdefault(key, {})[uuid] = card
    shared = [list(found.values()) for found in uuids.values() if len(found) > 1]
    for found in shared:
        claims = [signed(card, "device_serial") for card in found]
        names = some(str(card.value("gpu.uuid")) for card in found)
        yield finding(
            rule,
            "cloned",
            observed=f"{claims[0].value} stands for {names}",
            claims=cite(*claims),
        )
    if not shared:
        yield finding(rule, "distinct", observed=f"{len(cards)} of {len(batch.cards)} cards")


CLONE = Rule(
    id="batch.device-certificate",
    title="No chip's certificate stands under two UUIDs",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(
            id="distinct",
            outcome=Outcome.PASS,
            text="Each certificate stands under one UUID ({observed} have one).",
        ),
        Code(
            id="cloned",
            outcome=Outcome.FAIL,
            text="One chip under several UUIDs: certificate {observed}.",
        ),
        Code(
            id="none-signed",
            outcome=Outcome.INCONCLUSIVE,
            text="No card of this read-out signed anything.",
        ),
    ),
    shows="The attestation evidence of one good card was not shown for two.",
    limit="Within one read-out. Cards that did not sign are not seen by it.",
    near_miss="The same card read twice has one UUID.",
    references=_SOURCES,
    batch_check=_check_clone,
)

RULES = (EVIDENCE, PRODUCT, TOLD, VBIOS, IDENTIFIER, CLONE)
