"""Mutated and cut read-outs: evidence or one FormatError, nothing else, for a bounded time."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuverify.codec.evidence_json import dump_evidence, load_evidence
from gpuverify.codec.nvidia_smi_leaves import leaves_from_xml, xml_from_leaves
from gpuverify.codec.read import read_evidence
from gpuverify.codec.text import hostile
from gpuverify.errors import FormatError
from gpuverify.model.claims import ClaimStatus
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.vocabulary import VOCABULARY

SECONDS = 3.0

_SNIPPETS = [
    b"<", b">", b"&", b"</gpu>", b"<gpu>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"&#0;", b"&lt;",
    b"<?x ?>", b"<!DOCTYPE x>", b"N/A", b"GPU is lost", b" : ", b":", b"\n", b"\t", b"    ",
    b"GPU 00000000:FF:00.7\n", b"99999999999999999999999", b"-1", b" MiB", b"\x00", b"\xff",
    b"\xe2\x80\xae", b"\x1b[31m", b"{", b'"', b"\\u0000", b"[...]", b"=NVSMI LOG=", b"| NVIDIA-SMI 1",
    b"Link 0: 25 GB/s\n", b"GPU 0: a (UUID: b)\n", b"<mig_device>", b"<supported_clocks>",
    b"</supported_clocks>", b"\xef\xbb\xbf", b"\xff\xfe",
]  # fmt: skip


def _check(data: bytes) -> None:
    """Read, and hold what every reader promises."""
    try:
        evidence = read_evidence(data, "fuzz")
    except FormatError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < 400
        return
    assert evidence.evidence_class in {EvidenceClass.IMPORTED, EvidenceClass.CARRIED}
    for claims in (evidence.host, *(device.claims for device in evidence.devices)):
        for claim in claims:
            spec = VOCABULARY[claim.id]
            if claim.status is ClaimStatus.OK:
                assert type(claim.value) is spec.type
                assert not isinstance(claim.value, str) or hostile(claim.value) is None
            raw = claim.raw_text or ""
            assert hostile(raw) is None
            assert len(raw) <= 200 or evidence.evidence_class is EvidenceClass.CARRIED
    assert load_evidence(dump_evidence(evidence), "fuzz").devices == evidence.devices


def _mutate(data: bytes, rng: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(result) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            result[at : at + rng.randint(0, 8)] = rng.choice(_SNIPPETS)
        elif kind == 1:
            del result[at : at + rng.randint(1, 200)]
        elif kind == 2:
            result[at:at] = result[rng.randrange(len(result) + 1) :][: rng.randint(1, 400)]
        elif kind == 3 and at < len(result):
            result[at] = rng.randrange(256)
        else:
            del result[at:]
    return bytes(result)


@pytest.mark.parametrize("kind", ["xml", "text", "json"])
def test_mutations_for_a_bounded_time(kind: str, sample_xml: str, sample_text: str) -> None:
    xml = sample_xml.encode()
    seed = {
        "xml": xml,
        "text": sample_text.encode(),
        "json": dump_evidence(read_evidence(xml, "x")),
    }[kind]
    rng = random.Random(f"gpuverify {kind}")
    end = time.monotonic() + SECONDS
    runs = 0
    while time.monotonic() < end and runs < 3000:
        _check(_mutate(seed, rng))
        runs += 1
    assert runs > 20


def test_every_prefix_of_the_text(sample_text: str) -> None:
    data = sample_text.encode()
    for length in range(0, len(data), 37):
        _check(data[:length])


def test_every_prefix_of_the_document_is_refused(sample_xml: str) -> None:
    data = sample_xml.rstrip().encode()
    for length in range(0, len(data), 61):
        with pytest.raises(FormatError):
            read_evidence(data[:length], "cut")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    _check(data)


_LABELS = st.sampled_from(
    ["GPU 00000000:01:00.0", "FB Memory Usage", "Total", "ECC Errors", "Volatile", "Pending",
     "Remapped Rows", "MIG Device", "Processes", "Process ID", "Type", "Product Name", "PCI",
     "Bus Id", "Device Id", "Timestamp", "Driver Version", "Attached GPUs", "GPU UUID", "[...]"]
)  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 16), _LABELS, st.none() | st.text(max_size=20)), max_size=30)
)
def test_any_arrangement_of_labels(lines: list[tuple[int, str, str | None]]) -> None:
    text = "\n".join(
        " " * indent + label + (f" : {value}" if value is not None else "")
        for indent, label, value in lines
    )
    _check(text.encode("utf-8", "replace"))


_STEP = st.sampled_from(
    ["gpu[0]", "gpu[1]", "pci", "pci_bus_id", "a", "a[1]", "fb_memory_usage", "total"]
)


@given(
    st.lists(st.tuples(st.lists(_STEP, min_size=1, max_size=4), st.text(max_size=10)), max_size=10)
)
def test_any_leaves(leaves: list[tuple[list[str], str]]) -> None:
    try:
        document = xml_from_leaves(("/".join(path), value) for path, value in leaves)
    except FormatError:
        return
    try:
        read = leaves_from_xml(document, "fuzz")
    except FormatError:
        return
    assert leaves_from_xml(xml_from_leaves(read), "fuzz") == read
