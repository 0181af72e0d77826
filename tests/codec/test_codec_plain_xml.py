"""The quick way through XML and the careful way say the same of every document."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec import nvidia_smi_xml
from gpuverify.codec.nvidia_smi_leaves import leaves_from_xml, xml_from_leaves
from gpuverify.codec.nvidia_smi_plain import LIST_LIMIT, read_plain
from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml
from gpuverify.errors import FormatError
from gpuverify.model.evidence import Evidence

_HEAD = b'<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
_GPU = b"""<gpu id="00000000:4E:00.0">
\t<product_name>NVIDIA A100-SXM4-80GB</product_name>
\t<mig_devices>
\t\tNone
\t</mig_devices>
\t<uuid>GPU-3f0c6d17-52be-4a98-8d21-7be05c94f6a3</uuid>
\t<pci>
\t\t<pci_device_id>0x20B210DE</pci_device_id>
\t\t<pci_bus_id>00000000:4E:00.0</pci_bus_id>
\t</pci>
\t<clocks_event_reasons>
\t\t<clocks_event_reason_gpu_idle>
\t\t\tActive
\t\t</clocks_event_reason_gpu_idle>
\t</clocks_event_reasons>
\t<fb_memory_usage>
\t\t<total>81920 MiB</total>
\t\t<reserved>663 MiB</reserved>
\t</fb_memory_usage>
\t<remapped_rows>N/A</remapped_rows>
\t<retired_pages>
\t</retired_pages>
\t<temperature>
\t\t<gpu_temp>34 C</gpu_temp>
\t</temperature>
\t<supported_clocks>
\t\t<supported_mem_clock>
\t\t\t<value>1593 MHz</value>
\t\t\t<supported_graphics_clock>1410 MHz</supported_graphics_clock>
\t\t</supported_mem_clock>
\t</supported_clocks>
\t<processes>
\t\t<process_info>
\t\t\t<pid>71</pid>
\t\t\t<type>C</type>
\t\t</process_info>
\t</processes>
</gpu>
"""
_BODY = b"""<nvidia_smi_log>
<timestamp>Mon Mar  4 05:06:07 2030</timestamp>
<driver_version>550.54.15</driver_version>
<cuda_version>12.4</cuda_version>
<attached_gpus>2</attached_gpus>
"""
PLAIN = _HEAD + _BODY + _GPU + _GPU.replace(b":4E:", b":B7:") + b"</nvidia_smi_log>\n"

_LINES = [
    b"<!-- <gpu> -->", b"<![CDATA[x]]>", b"<?pi?>", b"<gpu>", b"</gpu>", b"<gpu></gpu>",
    b"<gpu/>", b'<gpu id="00000000:01:00.0">', b"<pci>", b"</pci>", b"text", b"a > b", b"",
    b"<uuid>", b"</uuid>", b"<uuid>\n</uuid>", b"<serial>7</serial><minor_number>2</minor_number>",
    b"<serial>1\n2</serial>", b"<serial>3<x/>4</serial>", b"<serial >13243</serial>",
    b'<serial id="5">13247</serial>', b'<serial kind="5">13249</serial>', b"<vbios_version>92 > 1</vbios_version>",
    b"<uuid>&amp;</uuid>", b"<uuid>&#71;PU</uuid>", b"<serial>\xc3\xa9</serial>",
    b"<supported_clocks>", b"</supported_clocks>", b"<supported_clocks>N/A</supported_clocks>",
    b"<supported_clocks></supported_clocks>", b"<value>1800 MHz</value>", b"<timestamp>",
    b"<processes>None</processes>", b"<driver_version>\n535.1\n</driver_version>", b"<gpu-x>1</gpu-x>",
    b"<nvidia_smi_log>", b"</nvidia_smi_log>", b"<remapped_rows>", b"</remapped_rows>",
]  # fmt: skip


def _either(data: bytes) -> Evidence | None:
    """Read as everybody does; None where the document is refused."""
    try:
        return read_nvidia_smi_xml(data, "log")
    except FormatError:
        return None


def _carefully(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Evidence | None:
    """Read without the quick way; None where the document is refused."""
    with monkeypatch.context() as patch:
        patch.setattr(nvidia_smi_xml, "read_plain", lambda *_: None)
        return _either(data)


def _is_plain(data: bytes) -> bool:
    document, _, _ = nvidia_smi_xml.document_bytes(data, "log")
    return read_plain(document, "log") is not None


def test_the_sample_goes_the_quick_way_and_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _is_plain(PLAIN)
    quick = _either(PLAIN)
    assert quick is not None
    assert quick == _carefully(PLAIN, monkeypatch)
    assert [d.claims.value("pci.bus_id") for d in quick.devices] == [
        "00000000:4E:00.0",
        "00000000:B7:00.0",
    ]
    claims = quick.devices[1].claims
    assert claims.value("clock.memory_supported_max_khz") == 1593000
    assert claims.value("mig.device_count") == 0
    assert claims.value("clock.event_reasons") == "gpu_idle"
    assert quick.host.value("host.attached_gpu_count") == 2


@given(st.data())
def test_changed_lines_are_read_alike(data: st.DataObject) -> None:
    lines = PLAIN.split(b"\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.integers(0, 3))
        if kind == 0:
            lines.insert(at, data.draw(st.sampled_from(_LINES)))
        elif kind == 1:
            del lines[at]
        elif kind == 2:
            lines.insert(data.draw(st.integers(0, len(lines))), lines[at])
        else:
            lines[at] = lines[at].strip() + lines.pop(at + 1) if at + 1 < len(lines) else b""
        lines = lines or [b""]
    with pytest.MonkeyPatch.context() as patch:
        document = b"\n".join(lines)
        assert _either(document) == _carefully(document, patch)


def test_cut_and_flipped_bytes_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(20)
    for _ in range(400):
        data = bytearray(PLAIN)
        at = rng.randrange(len(data))
        if rng.random() < 0.5:
            del data[at : at + rng.randint(1, 12)]
        else:
            data[at] = rng.choice(b'<>/&"= \n\r\tx0!?-\x00\x0b\xff')
        document = bytes(data)
        assert _either(document) == _carefully(document, monkeypatch), document


@pytest.mark.parametrize("line", _LINES)
def test_each_odd_line_is_read_alike(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = PLAIN.split(b"\n")
    for at in range(len(lines)):
        document = b"\n".join([*lines[:at], line, *lines[at:]])
        assert _either(document) == _carefully(document, monkeypatch), (at, document)


@pytest.mark.parametrize(
    "odd",
    [
        b"<!-- a comment -->",
        b"<serial>1</serial><minor_number>2</minor_number>",
        b"<serial>a &amp; b</serial>",
        b"<serial>1\n2\n3</serial>",
        b"<gpu_x/>",
        b"<deep>\n" * 40 + b"</deep>\n" * 40,
        b"<supported_clocks>\n" + b"<a>b</a>\n" * (LIST_LIMIT // 8) + b"</supported_clocks>",
    ],
)
def test_what_nvidia_smi_does_not_print_is_read_with_care(odd: bytes) -> None:
    document = PLAIN.replace(b"</gpu>", odd + b"\n</gpu>", 1)
    assert not _is_plain(document)


def test_line_ends_of_windows_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    document = PLAIN.replace(b"\n", b"\r\n")
    assert not _is_plain(document)
    assert _either(document) == _carefully(document, monkeypatch) == _either(PLAIN)


def test_a_document_in_order_but_malformed_is_refused() -> None:
    document = PLAIN.replace(b"<pci>", b"<ipc>", 1)
    with pytest.raises(FormatError, match="malformed"):
        read_nvidia_smi_xml(document, "log")


def test_an_entity_is_refused_before_its_text_is_used() -> None:
    entity = b'<!DOCTYPE nvidia_smi_log [<!ENTITY e "x">]>\n'
    with pytest.raises(FormatError, match="entity"):
        read_nvidia_smi_xml(PLAIN.replace(_HEAD, entity), "log")


def test_recorded_leaves_go_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    document = xml_from_leaves(leaves_from_xml(PLAIN, "log"))
    assert _either(document) == _carefully(document, monkeypatch)


def test_the_corpus_is_read_alike(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = 0
    for path in sorted(corpus.glob("*.xml")):
        data = path.read_bytes()
        plain += _is_plain(data)
        assert _either(data) == _carefully(data, monkeypatch), path.name
    assert plain >= 15
