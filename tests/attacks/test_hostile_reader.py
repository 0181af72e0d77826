"""Lies told to a live machine's own sources: none of them may end in consistent or exit 0."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack_support import A100, codes, database, held_back, judge, live, reasons, tampered

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.evidence_json import dump_evidence, load_evidence
from gpuverify.errors import PolicyError, UsageError
from gpuverify.model.claims import ClaimStatus
from gpuverify.model.evidence import DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.finding import Finding
from gpuverify.model.subject import Subject
from gpuverify.model.verdict import Verdict
from gpuverify.rules import RULES

pytestmark = pytest.mark.required

MISMATCH, SUSPECT, UNVERIFIED = Verdict.MISMATCH, Verdict.SUSPECT, Verdict.UNVERIFIED
H100, K80 = "gh100/h100-sxm5-80gb", "kepler/k80"


def edit(**keys: str | int | bool | list[str]) -> str:
    """One `[[edit]]` table: JSON's texts, numbers and lists are TOML's too."""
    return "\n[[edit]]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in keys.items())


def leaf(name: str, value: str) -> str:
    """Change what nvidia-smi alone prints of the first card."""
    return edit(leaf=name, gpu=0, value=value)


def mounts(*further: str) -> str:
    """Add lines to our list of mounts."""
    usual = (
        "24 31 0:22 / /proc rw,nosuid - proc proc rw",
        "25 31 0:23 / /sys rw,nosuid - sysfs sysfs rw",
        "26 31 0:5 / /dev rw,nosuid - devtmpfs udev rw",
        "31 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw",
    )
    return edit(file="/proc/self/mountinfo", text="\n".join((*usual, *further)) + "\n")


def preload(path: str, content: bytes) -> str:
    """Start our process with a preloaded object."""
    environ = b"PATH=/usr/bin\0LD_PRELOAD=" + path.encode() + b"\0"
    return edit(file="/proc/self/environ", hex=environ.hex()) + edit(file=path, hex=content.hex())


MIG_ON = edit(claim="mig.mode_current", value=True)
NO_LINK_CALLS = edit(missing=["nvmlDeviceGetNvLinkState", "nvmlDeviceGetNvLinkInfo"])
NO_LINKS = edit(fail="nvmlDeviceGetNvLinkState", code=3)
SMI = "/usr/bin/nvidia-smi"
SEARCH = ["/usr/bin/dpkg-query", "--search", SMI]
VERIFY = ["/usr/bin/dpkg", "--verify", "nvidia-utils-580"]
UNOWNED = edit(command=SEARCH, exit=1, stderr="dpkg-query: no path found\n")
VFIO = "".join(edit(drop=part, gpu=1) for part in ("nvml", "nvidia-smi", "procfs", "node")) + edit(
    pci_file="driver", gpu=1, link="../../../../bus/pci/drivers/vfio-pci"
)

LIES: list[tuple[str, str, str, dict[str, Any], Verdict, str]] = [
    # Two readers of one card: what the library says in our process, and what nvidia-smi says.
    ("nvidia-smi shows 40 GB", A100, leaf("fb_memory_usage/total", "40960 MiB"), {}, SUSPECT,
     "environment.nvidia-smi/differ"),
    ("nvidia-smi shows another name", A100, leaf("product_name", "NVIDIA A100-SXM4-40GB"), {},
     SUSPECT, "environment.nvidia-smi/differ"),
    ("nvidia-smi shows another PDI", A100, leaf("pdi", "0x1234567890abcdef"), {}, SUSPECT,
     "environment.nvidia-smi/differ"),
    ("nvidia-smi shows the slow memory", A100, leaf("max_clocks/mem_clock", "1215 MHz"), {},
     SUSPECT, "environment.nvidia-smi/differ"),
    ("nvidia-smi counts two", A100, edit(leaf="attached_gpus", value="2"), {}, UNVERIFIED,
     "batch.complete/counts-differ"),
    ("nvidia-smi of another driver", A100, edit(leaf="driver_version", value="550.54.14"), {},
     UNVERIFIED, "environment.version-skew/apart"),
    ("sysfs has another driver", A100, edit(file="/sys/module/nvidia/version", text="550.54.14\n"),
     {}, UNVERIFIED, "environment.version-skew/apart"),
    ("nvidia-smi was replaced", A100,
     edit(command=VERIFY, exit=1, stdout=f"??5??????   {SMI}\n"), {}, UNVERIFIED,
     "environment.nvidia-smi-program/altered"),
    ("nvidia-smi is of no package", A100,
     UNOWNED + edit(command=[*SEARCH[:2], "/bin/nvidia-smi"], exit=1), {}, UNVERIFIED,
     "environment.nvidia-smi-program/unknown"),
    ("nvidia-smi is a script", A100, edit(file=SMI, text="#!/bin/sh\ncat /root/story.xml\n"), {},
     UNVERIFIED, "environment.nvidia-smi-program/script"),
    ("nvidia-smi is gone", A100, edit(file=SMI, absent=True), {}, UNVERIFIED, ""),
    ("the kernel has another minor", A100, edit(procfs="Device Minor", value="3"), {}, MISMATCH,
     "identity.kernel-cross-check/differs"),
    ("the kernel has another name", A100, edit(procfs="Model", value="NVIDIA A100-SXM4-40GB"), {},
     MISMATCH, "identity.kernel-cross-check/differs"),
    ("modalias of another vendor", A100,
     edit(pci_file="modalias", text="pci:v00001002d000020B2sv000010DEsd00001463bc03sc02i00\n"), {},
     MISMATCH, "identity.pci-cross-check/differs"),
    # What the card itself offers.
    ("the largest BAR1 is the 40 GB card's", A100, "", {"tamper": {
        "pci-config:pci.bar1_max_bytes": 64 << 30}}, MISMATCH, "identity.bar1/other-product"),
    # Settings and old drivers that hide the one thing that tells two cards apart.
    ("A800, links hidden by MIG", "ga100/a800-ids-patched", MIG_ON, {}, UNVERIFIED,
     "link.count/fewer-but-hidden"),
    ("A800, no link calls", "ga100/a800-ids-patched", NO_LINK_CALLS, {}, UNVERIFIED,
     "link.count/needed"),
    ("H800, links hidden by MIG", "gh100/h800-ids-patched", MIG_ON,
     {"claim": "h100-sxm5-80gb"}, UNVERIFIED, "link.count/fewer-but-hidden"),
    ("H800, no link calls", "gh100/h800-ids-patched", NO_LINK_CALLS,
     {"claim": "h100-sxm5-80gb"}, UNVERIFIED, "link.count/needed"),
    ("A800, every link refused", "ga100/a800-ids-patched", NO_LINKS, {}, UNVERIFIED,
     "link.count/needed"),
    ("MIG on hides no capacity", "ga100/a100-sxm4-40gb", MIG_ON, {}, MISMATCH,
     "identity.product/other-product"),
    (
        "4090 D, no core count",
        "ada/rtx-4090-d-ids-patched",
        edit(missing=["nvmlDeviceGetNumGpuCores"]),
        {"claim": "rtx-4090-24gb"},
        UNVERIFIED,
        "identity.core-count/needed",
    ),
    # Versions that no driver has.
    ("driver 9999.1", A100, edit(claim="driver.version", value="9999.1")
     + edit(file="/proc/driver/nvidia/version",
            text="NVRM version: NVIDIA UNIX x86_64 Kernel Module  9999.1  Wed Oct 29 2025\n"),
     {}, UNVERIFIED, "capacity.total/era-unknown"),
    ("no driver version", A100, "", {"tamper_host": {
        "nvml:driver.version": None, "nvidia-smi:driver.version": None}}, UNVERIFIED,
     "capacity.total/era-unknown"),
    # Who stands between the files and us.
    ("a preload before openat", A100, preload("/opt/shim.so", b"\x7fELF\0openat\0"), {},
     UNVERIFIED, "environment.preload/file-functions"),
    ("a mount over cpuinfo", A100, mounts("90 24 0:60 /cpuinfo /proc/cpuinfo rw - tmpfs tmpfs rw"),
     {}, UNVERIFIED, "environment.foreign-mounts/over-files"),
    ("a proc file over cpuinfo", A100,
     mounts("90 24 0:22 /version /proc/cpuinfo rw - proc proc rw"), {}, UNVERIFIED,
     "environment.foreign-mounts/over-files"),
    ("a mount over the firmware's tables", A100,
     mounts("90 25 0:60 / /sys/class/dmi/id rw - tmpfs tmpfs rw"), {}, UNVERIFIED,
     "environment.foreign-mounts/over-files"),
    ("a mount over the PCI functions", A100,
     mounts("90 25 0:60 / /sys/bus/pci/devices rw - tmpfs tmpfs rw"), {}, UNVERIFIED,
     "environment.foreign-mounts/over-files"),
    # Cards that are not to be seen, or seen twice.
    ("a second card handed to vfio", A100, VFIO, {"copies": 2}, UNVERIFIED,
     "batch.complete/unlisted"),
    ("a second card handed to vfio, one sold", A100, VFIO, {"copies": 2, "count": 1}, UNVERIFIED,
     "batch.complete/unlisted"),
    ("NVML answers for a card on vfio", A100,
     edit(pci_file="driver", gpu=1, link="../../../../bus/pci/drivers/vfio-pci"), {"copies": 2},
     SUSPECT, "environment.kernel-behind-nvml/nothing-behind"),
    ("a card that nvidia-smi alone lists", A100, "".join(
        edit(drop=part, gpu=1) for part in ("nvml", "pci", "procfs", "node")), {"copies": 2},
     UNVERIFIED, "batch.complete/unlisted"),
    ("a card that NVML alone lists", A100, "".join(
        edit(drop=part, gpu=1) for part in ("nvidia-smi", "pci", "procfs", "node")), {"copies": 2},
     SUSPECT, "environment.kernel-behind-nvml/nothing-behind"),
    ("two cards at one bus id", A100,
     edit(nvml="nvmlDeviceGetPciInfo_v3", gpu=1, field="busId", value="00000000:07:00.0"),
     {"copies": 2}, MISMATCH, "identity.kernel-cross-check/differs"),
    ("two cards at one bus id, one sold", A100,
     edit(nvml="nvmlDeviceGetPciInfo_v3", gpu=1, field="busId", value="00000000:07:00.0"),
     {"copies": 2, "count": 1}, UNVERIFIED, "batch.complete/unlisted"),
    ("one of two left out", A100, "", {"copies": 2, "selected": (0,)}, UNVERIFIED,
     "batch.complete/left-out"),
    ("one of two left out, one sold", A100, "", {"copies": 2, "selected": (0,), "count": 1},
     UNVERIFIED, "batch.complete/left-out"),
    ("one where two were sold", A100, "", {"count": 2}, MISMATCH, "batch.count/fewer"),
    ("a cloned UUID beside the one sold", A100,
     edit(claim="gpu.uuid", value="GPU-67275d30-83aa-4965-8d1f-a0fe9a2dcfef")
     + edit(procfs="GPU UUID", value="GPU-67275d30-83aa-4965-8d1f-a0fe9a2dcfef"),
     {"copies": 2, "count": 1}, MISMATCH, "batch.unique-identity/cloned"),
    # Identities that say nothing.
    ("a masked UUID", A100,
     edit(claim="gpu.uuid", value="GPU-00000000-1111-2222-3333-444455556666")
     + edit(procfs="GPU UUID", value="GPU-00000000-1111-2222-3333-444455556666"), {}, UNVERIFIED,
     "batch.unique-identity/unreadable"),
    ("a placeholder for a serial number", A100, edit(claim="gpu.serial", value="0"), {},
     UNVERIFIED, "batch.serials/unreadable"),
    ("a placeholder as hour meter", A100, "", {"condition": "new", "tamper": {
        "nvml:inforom.bbx_time_run_s": 0xFFFFFFFF}}, UNVERIFIED,
     "history.hour-meter/implausible-on-new"),
    ("a sentinel as hour meter", A100, "", {"condition": "new", "tamper": {
        "nvml:inforom.bbx_time_run_s": ClaimStatus.SENTINEL}}, UNVERIFIED,
     "history.hour-meter/implausible-on-new"),
    ("new, on a driver without the meter", A100, "", {"condition": "new"}, UNVERIFIED,
     "history.hour-meter/absent-but-required"),
    ("ids that nobody can read", A100, "", {"tamper": {
        f"{source}:pci.device_id": ClaimStatus.MALFORMED
        for source in ("nvml", "nvidia-smi", "pci-config")}}, UNVERIFIED,
     "identity.product/unreadable"),
    # Boards, counted by the GPU.
    ("half a K80", K80, edit(drop="gpu", gpu=1), {"claim": "k80", "count": 1}, UNVERIFIED,
     "batch.count/part-of-a-board"),
    ("half a K80, uncounted", K80, edit(drop="gpu", gpu=1), {"claim": "k80"}, UNVERIFIED,
     "batch.count/part-of-a-board"),
    ("two halves of two K80", K80, edit(claim="gpu.serial", gpu=1, value="0324017082913"),
     {"claim": "k80", "count": 1}, UNVERIFIED, "batch.count/part-of-a-board"),
    # A modified card under the name of the stock one, and a stock one under the other's.
    ("22 GB undeclared", "turing/rtx-2080-ti-22gb-undeclared", "", {"claim": "rtx-2080-ti-11gb"},
     MISMATCH, ""),
    ("11 GB declared as 22", "turing/rtx-2080-ti-11gb", "", {"claim": "rtx-2080-ti-22gb"},
     MISMATCH, "capacity.total/wrong-class"),
    ("3090 under the ids of an A6000 keeps its image", "ga10x/rtx-a6000",
     edit(claim="inforom.image_version", value="G001.0000.03.03"), {"claim": "rtx-a6000-48gb"},
     UNVERIFIED, "lattice.board-project/generic-instead"),
]  # fmt: skip


def evidence_of(base: str, edits: str, options: dict[str, Any]) -> Evidence:
    """Collect the lie, take from `options` what belongs to the machine."""
    evidence = live(base, edits, options.pop("copies", 1))
    return tampered(evidence, options.pop("tamper", None), options.pop("tamper_host", None))


@pytest.mark.parametrize(
    ("base", "edits", "options", "verdict", "code"),
    [pytest.param(*row[1:], id=row[0].replace(" ", "-")) for row in LIES],
)
def test_a_lie_never_reaches_consistent(
    base: str, edits: str, options: dict[str, Any], verdict: Verdict, code: str
) -> None:
    options = dict(options)
    result = judge(evidence_of(base, edits, options), **options)
    told = "\n".join(reasons(result))
    assert held_back(result), told
    assert result.verdict is verdict, told
    assert not code or code in codes(result), sorted(codes(result))


@pytest.mark.parametrize("base", [A100, H100, K80])
def test_without_the_lie_the_same_machine_is_consistent(base: str) -> None:
    claim = {A100: "a100-sxm4-80gb", H100: "h100-sxm5-80gb", K80: "k80"}[base]
    result = judge(live(base), claim)
    assert result.verdict is Verdict.CONSISTENT, reasons(result)
    assert result.exit_code == 0


IDENTITY = {
    # claim id -> what the A100 40 GB shows there, where the seller forgot to change it
    "pci.device_id": 0x20B0,
    "pci.subsystem_device_id": 0x134F,
    "memory.total_bytes": 40960 << 20,
    "gpu.gpu_part_number": "20B0-884-A1",
    "inforom.image_version": "G506.0200.00.04",
    "gpu.board_part_number": "692-2G506-0200-003",
    "clock.memory_max_khz": 1_215_000,
    "pci.bar1_max_bytes": 64 << 30,
    "mig.profiles": "1g.5gb:4864:14:7,7g.40gb:40192:98:1",
    "gpu.name": "NVIDIA A100-SXM4-40GB",
}


@pytest.mark.parametrize("claim_id", IDENTITY)
def test_one_truth_left_standing_is_enough(claim_id: str) -> None:
    """Everything is forged to an 80 GB card but one fact, by whichever source tells it."""
    honest = live(A100)
    speakers = [c for c in honest.devices[0].claims if c.id == claim_id]
    assert speakers
    every = {f"{c.source.value}:{claim_id}": IDENTITY[claim_id] for c in speakers}
    assert judge(tampered(honest, every)).exit_code in (1, 2, 3)
    for speaker in speakers:
        one = {f"{speaker.source.value}:{claim_id}": IDENTITY[claim_id]}
        result = judge(tampered(honest, one))
        assert held_back(result), (claim_id, speaker.source, reasons(result))


@pytest.mark.parametrize("status", [None, *(s for s in ClaimStatus if s is not ClaimStatus.OK)])
def test_silence_about_anything_is_no_consent(status: ClaimStatus | None) -> None:
    """With every claim of a source gone, for whatever reason, nothing is consistent."""
    honest = live(A100)
    for name in ("nvml", "nvidia-smi", "procfs", "pci-config", "host"):
        device = {
            f"{name}:{c.id}": status for c in honest.devices[0].claims if c.source.value == name
        }
        host = {f"{name}:{c.id}": status for c in honest.host if c.source.value == name}
        assert held_back(judge(tampered(honest, device, host))), (name, status)


def test_evidence_that_was_edited_is_carried() -> None:
    data = dump_evidence(live(A100))
    for inserted in (b'"class":"live",', b'"evidence_class":"live",', b'"verdict":"consistent",'):
        edited = data.replace(b'"collected_ms"', inserted + b'"collected_ms"', 1)
        evidence = load_evidence(edited, "seller.json")
        assert evidence.evidence_class is EvidenceClass.CARRIED
        result = judge(evidence)
        assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)


def test_no_evidence_at_all() -> None:
    empty = dataclasses.replace(live(A100), devices=())
    assert held_back(judge(empty))
    bare = dataclasses.replace(live(A100), devices=(DeviceEvidence(index=0, claims=type(
        empty.host)()),))  # fmt: skip
    assert held_back(judge(bare))


@pytest.mark.parametrize(
    "edits",
    [
        {"capacity_slack_percent": 100},
        {"new_note_hours": 10**12},
        {"new_suspect_hours": 10**12},
        {"max_hours_slack": 10**12},
        {"reserved_suspect_bytes": 2**47},
        {"new_remap_suspect_count": 10**9},
    ],
)
def test_a_policy_with_looser_numbers_never_ends_in_consistent(
    tmp_path: Path, edits: dict[str, int]
) -> None:
    rows = "\n".join(f"{name} = {number}" for name, number in edits.items())
    result = judge(live(A100), policy=_policy(tmp_path, f"[thresholds]\n{rows}\n"))
    assert held_back(result)
    assert any("never ends in consistent" in reason for reason in reasons(result))


def _policy(folder: Path, further: str = "", head: str = "", drop: str = "") -> str:
    """Write the default policy under another name, with changes."""
    import gpuverify.appraise.policies as module

    text = (Path(module.__file__).parent / "data" / "standard.toml").read_text("utf-8")
    text = text.replace('name = "standard"', f'name = "mine"\n{head}').replace(drop, "", bool(drop))
    path = folder / "mine.toml"
    path.write_text(text + further, encoding="utf-8")
    return str(path)


def test_an_own_policy_as_strict_as_the_default_may_be_consistent(tmp_path: Path) -> None:
    result = judge(live(A100), policy=_policy(tmp_path))
    assert result.exit_code == 0
    assert result.policy_name.startswith("custom:")


@pytest.mark.parametrize(
    ("drop", "head"),
    [
        ('product = "cross-checked"\n', ""),
        ('capacity = "reported"\n', ""),
        ('lattice = "reported"\n', ""),
        ('environment = "cross-checked"\n', ""),
        ('batch = "reported"\n', ""),
        ('neighbours = "cross-checked"\n', ""),
        ('neighbours = "cross-checked"\n', 'neighbours = "reported"'),
        ('  "identity.name",\n', ""),
    ],
)
def test_a_policy_with_a_part_left_out(tmp_path: Path, drop: str, head: str) -> None:
    result = judge(live(A100), policy=_policy(tmp_path, head=head, drop=drop))
    # Leaving out an optional rule asks for more, everything else for less.
    assert (result.exit_code == 0) is ("identity.name" in drop)


def test_a_policy_without_history(tmp_path: Path) -> None:
    path = Path(_policy(tmp_path, drop='history = "reported"\n'))
    assert judge(live(A100), policy=str(path)).exit_code == 0  # still wanted where new is claimed
    text = path.read_text("utf-8").replace("history_if_new = true", "history_if_new = false")
    path.write_text(text, encoding="utf-8")
    assert held_back(judge(live(A100), policy=str(path)))


def test_every_rule_waved_through(tmp_path: Path) -> None:
    names = ", ".join(f'"{rule.id}"' for rule in RULES)
    text = 'schema = 1\nname = "mine"\ntext = "t"\nneighbours = "cross-checked"\n'
    path = tmp_path / "mine.toml"
    path.write_text(text + f"optional_rules = [{names}]\n", encoding="utf-8")
    assert held_back(judge(live("ga100/a100-sxm4-40gb"), policy=str(path)))
    assert held_back(judge(live(A100), policy=str(path)))


def test_the_screen_never_ends_in_consistent() -> None:
    assert held_back(judge(live(A100), policy="screen"))


def _claim_file(folder: Path, *items: str) -> str:
    path = folder / "order.toml"
    path.write_text("".join(f"[[item]]\n{item}\n" for item in items), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "items",
    [
        ('product = "a100-sxm4-80gb"\ncount = 1', 'product = "a100-sxm4-80gb"\ncount = 1'),
        (
            'product = "a100-sxm4-80gb"\ncondition = "new"',
            'product = "NVIDIA A100-SXM4-80GB"\ncondition = "used"',
        ),
    ],
)
def test_one_product_in_two_items_is_refused(tmp_path: Path, items: tuple[str, ...]) -> None:
    with pytest.raises(PolicyError, match="two items"):
        load_sale_claim(_claim_file(tmp_path, *items), None, None, None, database())


@pytest.mark.parametrize("count", ["", "count = 1"])
def test_an_item_that_nothing_stands_for(tmp_path: Path, count: str) -> None:
    """A hundred H100 on the order, and a machine with an A100: the A100 alone is no delivery."""
    path = _claim_file(
        tmp_path, 'product = "a100-sxm4-80gb"', f'product = "h100-sxm5-80gb"\n{count}'
    )
    sale = load_sale_claim(path, None, None, None, database())
    result = judge(live(A100), sale=sale)
    assert held_back(result)
    assert ("batch.count/fewer" if count else "batch.count/none-seen") in codes(result)


@pytest.mark.parametrize(
    ("claim", "memory"),
    [
        ("a100", None),
        ("A100 80GB", None),
        ("NVIDIA A100-SXM4-80GB", "40GB"),
        ("a100-sxm4-80gb", "40GB"),
        ("a100-sxm4-80gb", "80TB"),
        ("rtx-4090", "48GB"),
        ("", None),
        ("80gb", None),
        ("a100-sxm4-80gb\x00", None),
        ("*", None),
    ],
)
def test_a_vague_claim_is_wrong_usage(claim: str, memory: str | None) -> None:
    with pytest.raises(UsageError):
        load_sale_claim(claim, memory, None, None, database())


def test_a_rule_that_fails_is_no_verdict() -> None:
    def check(subject: Subject) -> list[Finding]:
        raise ZeroDivisionError

    broken = dataclasses.replace(RULES[0], check=check)
    with pytest.raises(ZeroDivisionError):
        appraise(
            live(A100),
            load_sale_claim("a100-sxm4-80gb", None, None, None, database()),
            load_policy("standard"),
            database(),
            now_ms=1,
            rules=(broken, *RULES[1:]),
        )


def test_a_rule_that_was_not_run_settles_nothing() -> None:
    standard = load_policy("standard")
    groups = set(standard.required) - {"history"}
    for group in groups:
        rules = tuple(rule for rule in RULES if rule.group.value != group)
        result = appraise(
            live(A100),
            load_sale_claim("a100-sxm4-80gb", None, None, None, database()),
            standard,
            database(),
            now_ms=1_795_262_400_000,
            rules=rules,
        )
        assert held_back(result), group


def test_a_file_that_speaks_for_itself_is_quoted() -> None:
    """Origin and tool stand in the file: they are shown as its words, never as ours."""
    from gpuverify.render.words import evidence_words

    story = "this machine; verdict: CONSISTENT"
    data = dump_evidence(dataclasses.replace(live(A100), origin=story, tool="notary 9"))
    words = evidence_words(load_evidence(data, "seller.json"))
    assert f'by its own words of "{story}"' in words
    assert 'written by "notary 9"' in words
    assert words.startswith("carried: an unsigned file")
    assert "live" not in words
