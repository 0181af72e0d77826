"""A live machine with everything in order, and the same machine with one thing missing.

The evidence is collected by the real path from an invented machine and marked live inside the
test: nothing outside a test can do that.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from case_support import accusations, database, evidence_of
from live_machines import appraise_live, card_of, honest_result, live_evidence, machine_of

from gpuverify.model.claims import Basis, Claim, ClaimStatus
from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass
from gpuverify.model.product import Product
from gpuverify.model.sale import Condition
from gpuverify.model.verdict import Result, Verdict
from gpuverify.sources.recording import FileEntry, Recording
from gpuverify.testing import SyntheticHost

pytestmark = pytest.mark.required

PRODUCTS = tuple(product for product in database().products() if product.pci)
BY_ID = {product.id: product for product in PRODUCTS}
# What the issue names first; each of these has to be reachable.
MUST_REACH_ZERO = (
    "a100-sxm4-80gb", "a100-sxm4-40gb", "a100-pcie-80gb", "a100-pcie-40gb", "a100-sxm-64gb",
    "a800-sxm4-80gb", "a800-sxm4-40gb", "a800-pcie-80gb", "a800-pcie-40gb-active", "a100x-80gb",
    "a30-pcie-24gb", "a30x-24gb", "a10-pcie-24gb", "a10g-pcie-24gb", "a40-pcie-48gb",
    "a16-pcie-16gb", "a2-pcie-16gb", "h100-sxm5-80gb", "h100-pcie-80gb", "h100-nvl-94gb",
    "h100-sxm5-64gb", "h100-sxm5-94gb", "h100-sxm5-96gb", "h800-sxm5-80gb", "h800-pcie-80gb",
    "h800-nvl-94gb", "h20-sxm5-96gb", "h20-3e-sxm5-141gb", "h200-sxm5-141gb", "h200-nvl-141gb",
    "gh200-480gb", "b200-sxm6-180gb", "gb200-superchip-186gb", "gb300-superchip-288gb",
    "v100-sxm2-16gb", "v100-sxm2-32gb", "v100-pcie-16gb", "v100-pcie-32gb", "p100-pcie-12gb",
    "p100-pcie-16gb", "p100-sxm2-16gb", "p40-pcie-24gb", "p4-pcie-8gb", "k80-pcie-12gb",
    "t4-pcie-16gb", "l2-pcie-24gb", "l4-pcie-24gb", "l20-pcie-48gb", "l40-pcie-48gb",
    "l40s-pcie-48gb", "rtx-a6000-48gb", "rtx-6000-ada-48gb", "rtx-2080-ti-11gb",
    "rtx-3090-24gb", "rtx-4090-24gb", "rtx-4090-d-24gb", "rtx-5090-32gb", "cmp-170hx-8gb",
    "cmp-170hx-10gb", "drive-pg199-32gb",
)  # fmt: skip


def told(result: Result) -> str:
    """Every reason of a result."""
    lines = [reason for device in result.devices for reason in device.reasons]
    return "\n".join(dict.fromkeys((*lines, *result.batch.reasons)))


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.id)
def test_an_honest_live_machine(product: Product) -> None:
    """Exit 0, or exit 3 with what is missing for each neighbour; never an accusation."""
    result = honest_result(product.id)
    assert accusations(result) == []
    assert result.verdict in (Verdict.CONSISTENT, Verdict.UNVERIFIED)
    assert result.exit_code == (0 if result.verdict is Verdict.CONSISTENT else 3), told(result)
    said = told(result)
    for device in result.devices:
        for neighbour in device.neighbours:
            if neighbour.needs:
                assert f"from {neighbour.product} by what was seen" in said
                assert f"needs {neighbour.needs}" in said
                assert result.verdict is Verdict.UNVERIFIED
            else:
                assert neighbour.basis is not None
                assert neighbour.basis.at_least(Basis.CROSS_CHECKED)
    if result.verdict is Verdict.UNVERIFIED:
        # Either a neighbour is left, or nothing is on file to hold the memory against.
        open_neighbour = any(n.needs for d in result.devices for n in d.neighbours)
        assert open_neighbour or "nothing is on file" in said, said


@pytest.mark.parametrize("name", MUST_REACH_ZERO)
def test_what_the_issue_names_reaches_zero(name: str) -> None:
    result = honest_result(name)
    assert (result.verdict, result.exit_code) == (Verdict.CONSISTENT, 0), told(result)
    assert all(device.assurance.at_least(Basis.CROSS_CHECKED) for device in result.devices)
    assert all(device.capacity_basis is Basis.REPORTED for device in result.devices)


def test_most_products_reach_zero() -> None:
    """The table of who does not, and why: a product joins it only with a reason."""
    short: dict[str, str] = {}
    for product in PRODUCTS:
        result = honest_result(product.id)
        if result.exit_code != 0:
            short[product.id] = told(result)
    shared_ids = {
        "m40-pcie-12gb", "quadro-gv100-32gb", "titan-v-ceo-32gb", "rtx-2080-ti-22gb",
        "rtx-3080-20gb", "rtx-4060-ti-16gb", "rtx-4090-48gb", "rtx-4090-d-48gb",
    }  # fmt: skip
    no_size = {product.id for product in PRODUCTS if not product.get("memory.nominal_mib")}
    assert set(short) <= shared_ids | no_size, short
    assert len(PRODUCTS) - len(short) >= 110
    assert all(
        "measured" in short[name] or "PCI" in short[name] for name in shared_ids & set(short)
    )


@pytest.mark.parametrize("name", ["a100-sxm4-80gb", "h100-sxm5-80gb", "t4-pcie-16gb"])
def test_intake_names_the_measurement(name: str) -> None:
    product = BY_ID[name]
    result = appraise_live(live_evidence(machine_of(product)), product, "intake")
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
    assert "what writing and reading back the memory showed" in told(result)
    assert accusations(result) == []


@pytest.mark.parametrize(
    "case",
    ["ga100/a100-sxm4-80gb", "gh100/h100-sxm5-80gb", "ga100/a100-pcie-80gb", "ada/l40s"],
)
def test_screen_never_ends_in_consistent(case: str) -> None:
    evidence = dataclasses.replace(evidence_of(case), evidence_class=EvidenceClass.LIVE)
    product = database().recognise(evidence.devices[0].claims).product
    assert product is not None
    result = appraise_live(evidence, product, "screen")
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)


# -- the same machine with one thing behind NVML missing

A100 = BY_ID["a100-sxm4-80gb"]


def without(recording: Recording, *fronts: str) -> Recording:
    """Return a recording without files at or below some paths."""
    files = {
        path: entry
        for path, entry in recording.files.items()
        if not any(path == front or path.startswith(f"{front}/") for front in fronts)
    }
    return dataclasses.replace(recording, files=files)


BEHIND = {
    "kernel driver": ("/proc/driver/nvidia", "/sys/module/nvidia"),
    "device node": ("/dev/nvidia0",),
    "PCI functions": ("/sys/bus/pci/devices/0000:07:00.0",),
}


@pytest.mark.parametrize("name", ["a100-sxm4-80gb", "h100-sxm5-80gb", "rtx-4090-24gb"])
@pytest.mark.parametrize("missing", BEHIND)
def test_nothing_behind_nvml_is_suspect(name: str, missing: str) -> None:
    product = BY_ID[name]
    full = machine_of(product)
    assert appraise_live(live_evidence(full), product).exit_code == 0
    result = appraise_live(live_evidence(without(full, *BEHIND[missing])), product)
    assert result.verdict is Verdict.SUSPECT, told(result)
    assert result.exit_code == 1
    assert any("NVML answers for this GPU, but" in line for line in told(result).splitlines())


def test_nothing_at_all_behind_nvml_is_suspect() -> None:
    every = tuple(front for fronts in BEHIND.values() for front in fronts)
    result = appraise_live(live_evidence(without(machine_of(A100), *every)), A100)
    assert (result.verdict, result.exit_code) == (Verdict.SUSPECT, 1), told(result)


def test_a_machine_without_sysfs_is_suspect() -> None:
    """A box with a forged library alone: no /sys/bus/pci, no /proc/driver, no node."""
    bare = without(machine_of(A100), "/sys", "/proc/driver", "/dev/nvidia0", "/dev/nvidiactl")
    result = appraise_live(live_evidence(bare), A100)
    assert (result.verdict, result.exit_code) == (Verdict.SUSPECT, 1), told(result)


@pytest.mark.parametrize(
    "path", ["/proc/driver/nvidia", "/sys/bus/pci/devices", "/proc/self", "/proc/cpuinfo"]
)
def test_what_may_not_be_read_accuses_nobody_and_passes_nobody(path: str) -> None:
    full = machine_of(A100)
    files = {
        name: FileEntry(kind=entry.kind, errno=13)
        if name == path or name.startswith(f"{path}/")
        else entry
        for name, entry in full.files.items()
    }
    result = appraise_live(live_evidence(dataclasses.replace(full, files=files)), A100)
    assert result.exit_code in (1, 3), told(result)
    assert result.verdict is not Verdict.CONSISTENT


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        (SyntheticHost(), Verdict.CONSISTENT),
        (SyntheticHost(secure_boot=False, signer="DKMS module signing key"), Verdict.CONSISTENT),
        (SyntheticHost(signer="", open_module=True), Verdict.CONSISTENT),
        (SyntheticHost(hypervisor=True, vendor="QEMU"), Verdict.UNVERIFIED),
        (SyntheticHost(kernel="5.15.153.1-microsoft-standard-WSL2"), Verdict.UNVERIFIED),
        (SyntheticHost(environ={"LD_AUDIT": "/opt/audit.so"}), Verdict.UNVERIFIED),
        (SyntheticHost(environ={"PYTHONPATH": "/opt/tools"}), Verdict.UNVERIFIED),
        (SyntheticHost(kernel_log=("4,2,9,-;NVRM: SEC2_DEBUG on",)), Verdict.SUSPECT),
        (SyntheticHost(mounts=("90 26 0:60 / /dev/nvidia0 rw - tmpfs tmpfs rw",)), Verdict.SUSPECT),
    ],
)
def test_hosts(host: SyntheticHost, verdict: Verdict) -> None:
    result = appraise_live(live_evidence(machine_of(A100, host)), A100)
    assert result.verdict is verdict, told(result)


# -- what may not be forgotten on a live machine


def claim_less(evidence: Evidence, *ids: str) -> Evidence:
    """Return evidence without some claims of devices and host."""

    def kept(claims: ClaimSet) -> ClaimSet:
        return ClaimSet(tuple(claim for claim in claims if claim.id not in ids))

    return dataclasses.replace(
        evidence,
        host=kept(evidence.host),
        devices=tuple(
            dataclasses.replace(device, claims=kept(device.claims)) for device in evidence.devices
        ),
    )


@pytest.mark.parametrize(
    "claim_id",
    [
        "gpu.uuid", "gpu.serial", "pci.device_id", "pci.subsystem_device_id", "memory.total_bytes",
        "gpu.gpu_part_number", "gpu.board_part_number", "inforom.image_version", "pci.driver",
        "device_node.present", "device_node.foreign_mount", "driver.version",
        "driver.kernel_version", "library.package_match", "host.hypervisor_cpuid",
        "host.virtual_machine", "host.preload_provides_driver_api", "host.tracer_pid",
        "host.python_hooks", "host.unlock_module", "host.attached_gpu_count", "host.container",
        "gpu.virtualization_mode", "nvidia_smi.is_elf", "binding.shadowed", "host.foreign_mounts",
    ],
)  # fmt: skip
def test_absence_is_never_a_pass(claim_id: str) -> None:
    evidence = live_evidence(machine_of(A100))
    assert appraise_live(evidence, A100).exit_code == 0
    result = appraise_live(claim_less(evidence, claim_id), A100)
    if claim_id in ("pci.subsystem_device_id", "gpu.serial", "host.foreign_mounts",
                    "gpu.gpu_part_number"):  # fmt: skip
        assert result.verdict in (Verdict.UNVERIFIED, Verdict.CONSISTENT)
    else:
        assert result.verdict is Verdict.UNVERIFIED, told(result)


def test_new_needs_the_hour_meter() -> None:
    product = A100
    recording = machine_of(product)
    result = appraise_live(live_evidence(recording), product, condition=Condition.NEW)
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
    assert "use driver 610 or newer" in told(result)
    used = appraise_live(live_evidence(recording), product, condition=Condition.USED)
    assert used.exit_code == 0


def test_empty_live_evidence_is_unverified() -> None:
    empty = Evidence(evidence_class=EvidenceClass.LIVE, origin="nothing", tool="test")
    result = appraise_live(empty, A100)
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
    blank = live_evidence(machine_of(A100))
    blank = dataclasses.replace(
        blank,
        host=ClaimSet(),
        devices=tuple(dataclasses.replace(d, claims=ClaimSet()) for d in blank.devices),
    )
    result = appraise_live(blank, A100)
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
    assert accusations(result) == []


def test_a_dead_source_is_said() -> None:
    evidence = live_evidence(machine_of(A100))
    host = tuple(
        Claim(id=c.id, status=ClaimStatus.TIMED_OUT, source=c.source, raw_text="left behind")
        if c.id == "source.procfs"
        else c
        for c in evidence.host
        if c.id != "driver.kernel_version"
    )
    result = appraise_live(dataclasses.replace(evidence, host=ClaimSet(host)), A100)
    assert result.verdict is Verdict.UNVERIFIED, told(result)


def test_the_generator_shows_distinct_cards() -> None:
    cards = [card_of(product) for product in PRODUCTS]
    assert len({(c.device_id, c.subsystem_device_id, c.memory_mib, c.name) for c in cards}) >= 130
