"""What a GPU signed about itself: NVIDIA's attestation evidence, raw and verified."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

from gpuverify.errors import VerificationError

_LABEL = b"gpuverify-spdm-v1\0"


class AttestationRefusal(enum.Enum):
    """Why attestation evidence does not stand. The words are stable: scripts may depend on them."""

    FORMAT = "format"
    CHAIN_LENGTH = "chain-length"
    CHAIN_CERTIFICATE = "chain-certificate"
    CHAIN_KEY = "chain-key"
    CHAIN_ORDER = "chain-order"
    CHAIN_CONSTRAINT = "chain-constraint"
    CHAIN_SIGNATURE = "chain-signature"
    CHAIN_TIME = "chain-time"
    CHAIN_ROOT = "chain-root"
    REPORT_LENGTH = "report-length"
    REPORT_REQUEST = "report-request"
    REPORT_RESPONSE = "report-response"
    REPORT_MEASUREMENT = "report-measurement"
    REPORT_OPAQUE = "report-opaque"
    REPORT_TEXT = "report-text"
    REPORT_FIELD = "report-field"
    REPORT_SIGNATURE = "report-signature"
    REPORT_NONCE = "report-nonce"
    FIRMWARE_ID = "firmware-id"


class AttestationError(VerificationError):
    """Attestation evidence that does not stand.

    Attributes:
        refusal: Which check it failed.
        detail: What was wrong, without the code.
    """

    def __init__(self, refusal: AttestationRefusal, detail: str, origin: str = "") -> None:
        """Keep the check, what was wrong, and what was read (for people)."""
        self.refusal = refusal
        self.detail = detail
        super().__init__(
            f"{origin + ': ' if origin else ''}E_HWATT ({refusal.value}): {detail};"
            " ask the card again with a nonce of your own"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationEvidence:
    """Attestation evidence of one GPU as it came, unverified.

    Attributes:
        origin: What it was read from, for people.
        chain: Certificates in DER, the GPU's leaf first, the root last.
        report: SPDM GET_MEASUREMENTS request followed by its response.
        stated_nonce: The 32 bytes that the file says were asked for, None where it says nothing.
            Never used for judging: the nonce that counts is the caller's own.
        stated_architecture: The file's own word, e.g. "HOPPER".
    """

    origin: str
    chain: tuple[bytes, ...]
    report: bytes
    stated_nonce: bytes | None = None
    stated_architecture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement block.

    Attributes:
        index: Its number, from 1.
        kind: DMTFSpecMeasurementValueType of DSP0274.
        value: The digest or value.
    """

    index: int
    kind: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReport:
    """An SPDM measurements report taken apart; nothing about it is verified.

    Attributes:
        requested_nonce: The 32 bytes of the requester.
        response_nonce: The 32 bytes of the GPU.
        slot: Certificate slot that was asked for.
        measurements: In their order.
        fields: Opaque fields by number.
        unknown_fields: Numbers of fields that have no name here.
        signed: The bytes under the signature.
        signature: r and s, big-endian, 48 bytes each.
    """

    requested_nonce: bytes
    response_nonce: bytes
    slot: int
    measurements: tuple[Measurement, ...]
    fields: dict[int, bytes]
    unknown_fields: tuple[int, ...]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIdentity:
    """What the GPU's firmware says about the board, out of the signed opaque fields.

    Attributes:
        chip_sku: SKU of the chip, e.g. "885" (the middle of the GPU part number).
        chip_sku_modifier: Its modifier, "" for none.
        project: Board project in upper case, e.g. "G520".
        project_sku: SKU of the board project, e.g. "0200".
        project_sku_modifier: Its modifier, "" for none.
        vbios_version: As NVML prints it, e.g. "96.00.A5.00.01".
        board_id: Board id as `0x` and 8 hex digits.
        driver_version: Driver that was loaded when the report was made.
        firmware_id: Digest of the firmware that the leaf key belongs to, hex; "" if not signed.
    """

    chip_sku: str
    chip_sku_modifier: str
    project: str
    project_sku: str
    project_sku_modifier: str
    vbios_version: str
    board_id: str
    driver_version: str
    firmware_id: str

    @property
    def sku(self) -> str:
        """Project, board SKU and chip SKU as NVIDIA names its reference manifests."""
        return f"{self.project}_{self.project_sku}_{self.chip_sku}"

    @property
    def inforom_sku(self) -> str:
        """Project and board SKU as they stand in an InfoROM image version."""
        return f"{self.project}.{self.project_sku}"

    @property
    def manifest(self) -> str:
        """Name of the reference manifest for the VBIOS: `project_sku_chip_vbios`."""
        return f"{self.sku}_{self.vbios_version.replace('.', '')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedDevice:
    """Attestation evidence that stands: the chain ends in the pinned root, the report is signed.

    Attributes:
        identity: What was signed.
        model_name: Common name of the device certificate, e.g. "GH100 A01 GSP BROM".
        device_serial: Serial number of the device certificate (index 1), hex, upper case.
        device_key_sha256: SHA-256 of the device certificate's public key, hex: the chip itself.
        leaf_serial: Serial number of the leaf certificate, hex, upper case.
        device_identifier: Tail of the leaf's alternative name, `0x` and 16 hex digits where it
            has that shape; it looks like NVML's PDI. "" if there is none.
        nonce: The 32 bytes that the report answers.
        nonce_bound: Whether the caller gave a nonce and it is this one.
        measurement_count: Measurements in the report.
        unknown_fields: Numbers of signed fields that have no name here.
        protected_pcie: Whether protected PCIe mode was on, None if not signed.
        not_checked: What an offline check cannot know, for people.
    """

    identity: SignedIdentity
    model_name: str
    device_serial: str
    device_key_sha256: str
    leaf_serial: str
    device_identifier: str
    nonce: bytes
    nonce_bound: bool
    measurement_count: int
    unknown_fields: tuple[int, ...]
    protected_pcie: bool | None
    not_checked: tuple[str, ...]


def attestation_nonce(challenge: bytes, gpu_uuid: str) -> bytes:
    """Derive the nonce that one GPU is asked to sign.

    A hash of the buyer's challenge and the UUID: a report answers this challenge for this card
    alone, and whoever knows the challenge can check it.

    Args:
        challenge: The challenge's nonce.
        gpu_uuid: UUID as NVML prints it, `GPU-` and lower case.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(_LABEL + challenge + gpu_uuid.encode()).digest()


def same_identifier(pdi: str, own: str) -> bool:
    """Whether NVML's PDI and the identifier of a certificate are one.

    Args:
        pdi: `0x` and 16 hex digits.
        own: The same; NVIDIA's tools print it in either byte order.
    """
    try:
        left, right = (bytes.fromhex(text.removeprefix("0x")) for text in (pdi, own))
    except ValueError:
        return False
    return len(left) == 8 and left in (right, right[::-1])
