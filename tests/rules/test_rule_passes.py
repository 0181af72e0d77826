"""What passes, what it excludes a neighbour by, and honest situations that stay notes at most."""

from __future__ import annotations

from typing import Any

import pytest

from gpuverify.model.claims import Basis, ClaimStatus
from gpuverify.model.finding import Finding, Outcome
from gpuverify.model.product import MatchState, Recognition
from gpuverify.model.sale import Condition

MIB = 1024 * 1024
HOUR = 3600


def ids(
    device: int, sub: int | None, vendor: int = 0x10DE, speaker: str = "nvml"
) -> dict[str, Any]:
    found: dict[str, Any] = {f"{speaker}:pci.device_id": device}
    if sub is not None:
        found |= {
            f"{speaker}:pci.subsystem_vendor_id": vendor,
            f"{speaker}:pci.subsystem_device_id": sub,
        }
    return found


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, [f.code for f in findings]
    return findings[0]


def test_an_exact_pair_passes_with_its_ids(bench: Any) -> None:
    finding = only(bench.run("identity.product", ids(0x20B2, 0x147F)))
    assert (finding.code, finding.basis) == ("match", Basis.REPORTED)
    assert (finding.field, finding.observed_value) == ("pci.identity", "20B2:10DE:147F")


def test_an_oem_vendor_keeps_the_subsystem_device(bench: Any) -> None:
    finding = only(bench.run("identity.product", ids(0x20B2, 0x147F, vendor=0x1028)))
    assert finding.code == "match"
    assert finding.observed_value == "20B2:10DE:147F"


def test_a_device_id_of_one_product_passes_with_a_note(bench: Any) -> None:
    findings = bench.run("identity.product", ids(0x20C2, 0x7777), sold="cmp")
    assert [f.code for f in findings] == ["subsystem-unknown", "device-match"]
    # The unknown subsystem must not exclude products with the same device id.
    assert findings[1].observed_value == "20C2:-:-"


def test_a_shared_device_id_with_an_unknown_subsystem_stays_open(bench: Any) -> None:
    codes = bench.codes("identity.product", ids(0x20B2, 0x7777))
    assert codes == ["candidates"]


def test_a_shared_device_id_decided_by_the_lattice_passes(bench: Any) -> None:
    decided = Recognition(
        state=MatchState.SUBSYSTEM_UNKNOWN, products=(bench.products["a100-80"],), by="lattice"
    )
    findings = bench.run("identity.product", ids(0x20B2, 0x7777), recognition=decided)
    assert [f.code for f in findings] == ["subsystem-unknown", "device-match"]


def test_a_board_name_is_accepted_for_what_it_is_sold_as(bench: Any) -> None:
    findings = bench.run("identity.product", ids(0x20B2, 0x1625))
    assert [f.code for f in findings] == ["board-name", "sold-as"]
    assert [f.outcome for f in findings] == [Outcome.NOTE, Outcome.PASS]
    assert findings[1].reference == ("bench row sold_as.source",)
    assert bench.codes(
        "identity.name", ids(0x20B2, 0x1625) | {"nvml:gpu.name": "NVIDIA PG509-210"}
    ) == ["own-name"]


def test_unknown_and_masked_ids_are_open(bench: Any) -> None:
    assert bench.codes("identity.product", ids(0x2FFF, 0x147F)) == ["unknown-device"]
    assert bench.codes("identity.product", {"smi:gpu.name": "A100"}) == ["unreadable"]


def test_without_a_claim_the_card_reads_as_itself(bench: Any) -> None:
    assert bench.codes("identity.product", ids(0x20B0, 0x134F), sold=None) == ["match"]


def test_configuration_space_outranks_the_library(bench: Any) -> None:
    claims = ids(0x20B2, 0x147F) | ids(0x20B0, 0x134F, speaker="pci")
    assert bench.codes("identity.product", claims) == ["other-product"]


def attributes(device: int, subsystem: int) -> dict[str, Any]:
    """What the kernel's attribute files say of the ids."""
    return {
        "pci:pci.attribute.device_id": device,
        "pci:pci.attribute.subsystem_vendor_id": 0x10DE,
        "pci:pci.attribute.subsystem_device_id": subsystem,
        "pci:pci.attribute.modalias": f"pci:v000010DEd{device:08X}sv000010DEsd{subsystem:08X}bc03",
    }


def test_the_cross_check_passes_at_its_basis(bench: Any) -> None:
    claims = ids(0x20B2, 0x147F) | ids(0x20B2, 0x147F, speaker="pci")
    # The kernel's own files were not asked: no agreement yet.
    assert bench.codes("identity.pci-cross-check", claims) == ["one-speaker"]
    claims |= attributes(0x20B2, 0x147F)
    finding = only(bench.run("identity.pci-cross-check", claims))
    assert (finding.code, finding.basis) == ("agree", Basis.CROSS_CHECKED)
    assert finding.observed_value == "20B2:10DE:147F"


def test_agreement_on_ids_that_nobody_knows_excludes_nobody(bench: Any) -> None:
    claims = ids(0x2FFF, 0x147F) | ids(0x2FFF, 0x147F, speaker="pci")
    claims |= attributes(0x2FFF, 0x147F)
    finding = only(bench.run("identity.pci-cross-check", claims))
    assert (finding.code, finding.field) == ("agree-not-on-file", "")


def test_a_log_has_one_speaker(bench: Any) -> None:
    claims = ids(0x20B2, 0x147F, speaker="smi")
    assert bench.codes("identity.pci-cross-check", claims, imported=True) == ["one-speaker"]


# -- lists


def test_agreement_with_the_kernel_raises_the_basis(bench: Any) -> None:
    library = {"nvml:memory.bus_width_bits": 5120}
    assert only(bench.run("identity.bus-width", library)).basis is Basis.REPORTED
    both = library | {"cuda:memory.bus_width_bits": 5120}
    finding = only(bench.run("identity.bus-width", both))
    assert finding.basis is Basis.CROSS_CHECKED
    assert finding.reference == ("bench row memory.bus_width_bits",)
    assert finding.claims == ("nvml:memory.bus_width_bits",)


def test_clocks_within_one_percent_are_the_reference_value(bench: Any) -> None:
    finding = only(bench.run("identity.sm-clock", {"nvml:clock.sm_max_khz": 1_411_000}))
    assert (finding.code, finding.observed_value) == ("own-value", 1410)


def test_a_consumer_board_is_not_accused_by_its_clocks(bench: Any) -> None:
    claims = {"nvml:clock.memory_max_khz": 10_251_000, "nvml:clock.sm_max_khz": 3_105_000}
    assert bench.codes("identity.memory-clock", claims, sold="rtx") == ["other-undecided"]
    assert bench.codes("identity.sm-clock", claims, sold="rtx") == ["not-for-product"]
    assert bench.codes("identity.core-count", {"nvml:gpu.core_count": 14592}, sold="rtx") == [
        "other-product"
    ]


def test_what_is_not_on_file_is_open(bench: Any) -> None:
    assert bench.codes("identity.bus-width", {"nvml:memory.bus_width_bits": 384}, sold="rtx") == [
        "no-reference"
    ]


def test_the_largest_profile_decides(bench: Any) -> None:
    finding = only(
        bench.run("identity.mig-profiles", {"nvml:mig.profiles": "1g.10gb:9:14:7,7g.80gb:80:98:1"})
    )
    assert (finding.field, finding.observed_value) == ("mig.profile", "7g.80gb")


def test_bank_sum_is_over_all_classes(bench: Any) -> None:
    names = ("max", "high", "partial", "low", "none")
    parts: dict[str, int | None] = {
        f"nvml:remap.histogram_{n}": v for n, v in zip(names, (630, 4, 3, 2, 1), strict=True)
    }
    finding = only(bench.run("identity.bank-histogram", parts))
    assert (finding.field, finding.observed_value) == ("remap.bank_count", 640)
    parts["nvml:remap.histogram_low"] = None
    assert bench.codes("identity.bank-histogram", parts) == ["no-value"]


def test_bar1_tells_only_where_no_sister_could_be_smaller_for_the_host(bench: Any) -> None:
    small = only(
        bench.run(
            "identity.bar1",
            {"nvml:pci.bar1_bytes": 65536 * MIB},
            sold="a100-40",
            neighbours=("a100-80",),
        )
    )
    assert (small.code, small.field) == ("own-value", "")
    large = only(
        bench.run(
            "identity.bar1", {"nvml:pci.bar1_bytes": 131072 * MIB}, neighbours=("a100-40", "cmp")
        )
    )
    assert (large.code, large.field) == ("own-value", "pci.bar1_mib")
    assert bench.codes("identity.bar1", {"nvml:pci.bar1_bytes": 256 * MIB}) == ["host-setting"]
    assert bench.codes("identity.bar1", {"nvml:pci.bar1_bytes": 256 * MIB}, sold="rtx") == [
        "not-for-product"
    ]


def test_vbios_list_confirms_and_never_accuses(bench: Any) -> None:
    assert bench.codes("identity.vbios-list", {"nvml:gpu.vbios_version": "92.00.45.00.05"}) == [
        "on-file"
    ]
    unseen = bench.run("identity.vbios-list", {"nvml:gpu.vbios_version": "92.00.AA.00.05"})
    assert only(unseen).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("oem", "ecc", "code"),
    [("2.0", "6.16", "seen"), ("2.0", None, "seen"), ("3.1", "9.9", "unseen")],
)
def test_inforom_objects(bench: Any, oem: str, ecc: str | None, code: str) -> None:
    claims = {"nvml:inforom.oem_object": oem, "nvml:inforom.ecc_object": ecc}
    finding = only(bench.run("identity.inforom-objects", claims))
    assert finding.code == code
    assert finding.outcome in (Outcome.PASS, Outcome.NOTE)


def test_keys(bench: Any) -> None:
    uuid = {"nvml:gpu.uuid": "GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b52"}
    assert bench.codes("identity.key", uuid | {"nvml:gpu.serial": "1652823055647"}) == ["held"]
    assert bench.codes("identity.key", uuid | {"nvml:gpu.serial": "0"}) == ["partial"]
    assert bench.codes("identity.key", {"nvml:gpu.serial": "0"}) == ["placeholder"]
    assert bench.codes("identity.key") == ["no-value"]


def test_power_is_a_remark(bench: Any) -> None:
    assert bench.codes("identity.power", {"nvml:power.limit_default_mw": 500_000}) == ["own-value"]
    other = only(bench.run("identity.power", {"nvml:power.limit_default_mw": 310_000}))
    assert (other.code, other.outcome) == ("other", Outcome.NOTE)


# -- capacity


@pytest.mark.parametrize(
    ("driver", "mib", "sold", "code"),
    [
        ("550.54", 81920, "a100-80", "exact"),
        ("550.54", 81900, "a100-80", "near"),
        ("550.54", 80100, "a100-80", "never-seen"),
        ("460.32", 81252, "a100-80", "class-fits"),
        ("460.32", 97500, "h96", "class-fits"),
        ("550.54", 11441, "k80", "class-fits"),
        ("430.26", 11441, "k80", "class-fits"),
    ],
)
def test_totals_by_era(bench: Any, driver: str, mib: int, sold: str, code: str) -> None:
    finding = only(
        bench.run(
            "capacity.total",
            {"nvml:memory.total_bytes": mib * MIB},
            {"nvml:driver.version": driver},
            sold=sold,
        )
    )
    assert finding.code == code
    if code == "exact":
        assert (finding.field, finding.observed_value) == ("memory.total_mib", mib)


def test_94_and_96_gb_are_not_told_apart_by_an_old_total(bench: Any) -> None:
    host = {"nvml:driver.version": "460.32"}
    claims = {"nvml:memory.total_bytes": 95000 * MIB}
    alone = only(bench.run("capacity.total", claims, host, sold="h96"))
    assert alone.field == "memory.nominal_mib"
    sister = only(bench.run("capacity.total", claims, host, sold="h96", neighbours=("h94",)))
    assert (sister.code, sister.field) == ("class-fits", "")


@pytest.mark.parametrize(
    ("ecc", "mib", "code"),
    [
        (True, 23028, "exact"),
        (False, 24564, "exact"),
        (None, 24564, "exact"),
        (True, 24564, "near"),
        (ClaimStatus.NOT_ASKED, 24564, "class-only"),
    ],
)
def test_gddr_totals_depend_on_ecc(bench: Any, ecc: Any, mib: int, code: str) -> None:
    claims = {"nvml:memory.total_bytes": mib * MIB, "nvml:ecc.mode_current": ecc}
    assert bench.codes("capacity.total", claims, {"nvml:driver.version": "550.1"}, sold="rtx") == [
        code
    ]


def test_a_virtual_gpu_has_no_capacity_of_its_own(bench: Any) -> None:
    claims = {"smi:memory.total_bytes": 10240 * MIB, "smi:gpu.virtualization_mode": "vgpu"}
    host = {"smi:driver.version": "550.54"}
    assert bench.codes("capacity.total", claims, host) == ["setting-in-doubt"]


def test_a_board_label_is_explained(bench: Any) -> None:
    finding = only(bench.run("capacity.label", sold="k80", per_board=True))
    assert finding.code == "per-board"
    assert "2 GPUs share a board, 12GB each" in finding.message


# -- lattice and links


def test_lattice_passes_with_what_it_excludes_by(bench: Any) -> None:
    claims = {
        "nvml:gpu.board_part_number": "692-2G506-0210-005",
        "nvml:inforom.image_version": "G506.0210.00.07",
        "smi:gpu.gpu_part_number": "20B2-895-A1",
        "nvml:pci.device_id": 0x20B2,
    }
    expected = {
        "lattice.gpu-part-number-device": ("agrees", ""),
        "lattice.board-project": ("agrees", ""),
        "lattice.board-sku": ("agrees", ""),
        "lattice.inforom-sku": ("own-value", "inforom.sku"),
        "lattice.chip-sku": ("own-value", "gpu.chip_sku"),
        "lattice.board-part-number": ("own-value", "board.sku"),
        "lattice.segment": ("agrees", ""),
    }
    for rule, (code, field) in expected.items():
        finding = only(bench.run(rule, claims))
        assert (finding.code, finding.field) == (code, field), rule


def test_masked_part_numbers_are_not_readable(bench: Any) -> None:
    masked = {
        "smi:gpu.board_part_number": "[REDACTED]",
        "smi:inforom.image_version": "XXXX",
        "smi:gpu.gpu_part_number": "XXXX-XXX-XX",
        "smi:pci.device_id": 0x20B2,
    }
    for rule in (
        "lattice.gpu-part-number-device",
        "lattice.board-project",
        "lattice.board-sku",
        "lattice.inforom-sku",
        "lattice.chip-sku",
        "lattice.board-part-number",
        "lattice.segment",
    ):
        assert bench.codes(rule, masked, imported=True) == ["unreadable"], rule


def test_consumer_boards_have_no_lattice(bench: Any) -> None:
    image = {"nvml:inforom.image_version": "G001.0000.03.03", "nvml:gpu.board_part_number": None}
    outcomes = {
        finding.outcome
        for rule in (
            "lattice.gpu-part-number-device",
            "lattice.board-project",
            "lattice.board-sku",
            "lattice.inforom-sku",
            "lattice.chip-sku",
            "lattice.board-part-number",
            "lattice.segment",
        )
        for finding in bench.run(rule, image, sold="rtx")
    }
    assert outcomes == {Outcome.NOT_APPLICABLE}


def test_dead_links_exist(bench: Any) -> None:
    claims = {"nvml:nvlink.link_count": 12, "nvml:nvlink.active_count": 5}
    finding = only(bench.run("link.count", claims))
    assert (finding.code, finding.observed_value) == ("own-value", 12)
    down = only(bench.run("condition.nvlink", claims))
    assert (down.code, down.outcome) == ("down", Outcome.NOTE)
    bare = {"nvml:nvlink.link_count": 4, "nvml:nvlink.active_count": 0}
    assert bench.codes("condition.nvlink", bare, sold="work") == ["unbridged"]


def test_more_links_than_on_file_exclude_nobody(bench: Any) -> None:
    finding = only(bench.run("link.count", {"nvml:nvlink.link_count": 18}))
    assert (finding.code, finding.field) == ("more", "")


def test_pcie_below_is_a_note(bench: Any) -> None:
    claims = {"pci:pci.link_generation_device_max": 1, "pci:pci.link_width_max": 4}
    findings = bench.run("link.pcie-capability", claims)
    assert [(f.code, f.outcome) for f in findings] == [("below", Outcome.NOTE)] * 2
    narrow = {"nvml:pci.link_width_current": 8, "nvml:pci.link_width_max": 16}
    assert bench.codes("link.pcie-width", narrow) == ["narrow"]


# -- condition, history


def test_one_or_two_corrected_rows_are_a_note(bench: Any) -> None:
    claims = {"nvml:remap.correctable_count": 2, "nvml:remap.uncorrectable_count": 0,
              "nvml:remap.pending": False, "nvml:remap.failure": False}  # fmt: skip
    assert only(bench.run("condition.row-remap", claims)).outcome is Outcome.NOTE
    assert only(bench.run("history.remaps", claims)).outcome is Outcome.NOTE


def test_a_product_without_the_feature_is_not_asked(bench: Any) -> None:
    assert bench.codes("condition.row-remap", sold="k80") == ["not-for-product"]
    assert bench.codes("condition.retired-pages") == ["not-for-product"]
    assert bench.codes("history.retired-pages") == ["not-for-product"]
    # A claim that is there is judged all the same.
    assert bench.codes("condition.row-remap", {"nvml:remap.failure": True}, sold="k80") == [
        "failure"
    ]


def test_zero_counters_are_never_above_a_note(bench: Any) -> None:
    zero = {
        "nvml:remap.correctable_count": 0,
        "nvml:remap.uncorrectable_count": 0,
        "nvml:ecc.aggregate.dram_correctable": 0,
    }
    for rule in ("history.remaps", "history.counters"):
        finding = only(bench.run(rule, zero, condition=Condition.NEW))
        assert finding.outcome is Outcome.NOTE
        assert not finding.used


@pytest.mark.parametrize(
    ("hours", "options", "code"),
    [
        (93, {"condition": Condition.NEW}, "burn-in"),
        (504, {"condition": Condition.NEW, "max_hours": 504}, "within-declared"),
        (21_000, {"condition": Condition.USED}, "hours"),
        (7, {}, "few-hours"),
        (600_000, {}, "implausible"),
    ],
)
def test_hours(bench: Any, hours: int, options: dict[str, Any], code: str) -> None:
    finding = only(
        bench.run("history.hour-meter", {"nvml:inforom.bbx_time_run_s": hours * HOUR}, **options)
    )
    assert finding.code == code
    assert finding.outcome in (Outcome.NOTE, Outcome.INCONCLUSIVE)


def test_retired_pages_carry_a_date_only_if_plausible(bench: Any) -> None:
    claims = {"smi:retired.double_bit_count": 2, "smi:retired.first_time_s": 1_566_430_446}
    dated = only(bench.run("history.retired-pages", claims, sold="k80"))
    assert "2019-08-21" in dated.message
    claims["smi:retired.first_time_s"] = 86_400  # 1970: a host without a clock
    undated = only(bench.run("history.retired-pages", claims, sold="k80"))
    assert "1970" not in undated.message


@pytest.mark.parametrize(
    ("serial", "code", "text"),
    [
        ("1652823055647", "dated", "week 28 of 2023"),
        ("1562849103701", "undated", ""),
        ("1659923055647", "undated", ""),
        ("0", "no-value", ""),
    ],
)
def test_serial_dates(bench: Any, serial: str, code: str, text: str) -> None:
    finding = only(bench.run("history.serial-date", {"nvml:gpu.serial": serial}))
    assert finding.code == code
    assert text in finding.message
    assert finding.outcome in (Outcome.NOTE, Outcome.INCONCLUSIVE)


# -- environment


def test_honest_oddities_of_a_host_are_notes_without_a_cap(bench: Any) -> None:
    host = {
        "host:host.taint": 12289,
        "host:host.secure_boot": None,
        "host:host.module_signer": "DKMS module signing key",
        "host:host.container": "docker",
        "host:host.preload": "/usr/lib/libjemalloc.so.2",
        "host:host.preload_provides_driver_api": False,
        "host:host.preload_intercepts_files": False,
        "host:host.audit": "",
        "host:host.foreign_mounts": "/usr/bin/nvidia-smi (ext4 /)",
    }
    for rule in (
        "taint",
        "secure-boot",
        "module-signature",
        "container",
        "preload",
        "foreign-mounts",
    ):
        finding = only(
            bench.run(f"environment.{rule}", {"host:device_node.foreign_mount": False}, host)
        )
        assert finding.outcome in (Outcome.NOTE, Outcome.PASS), rule
        assert not finding.caps, rule


def test_every_warning_rule_is_open_without_its_claims(bench: Any) -> None:
    for finding in bench.all_findings(bench.subject({"nvml:gpu.uuid": "GPU-1"})):
        if finding.rule == "environment.device-evidence":
            assert finding.code == "not-for-product"  # the product decides it, not the claim
        elif finding.rule.startswith("environment."):
            assert finding.outcome is Outcome.INCONCLUSIVE, finding.rule


def test_absence_names_its_reason_and_remedy(bench: Any) -> None:
    finding = only(
        bench.run("identity.bus-width", {"nvml:memory.bus_width_bits": ClaimStatus.NO_PERMISSION})
    )
    assert "no permission (run as root)" in finding.message
    assert finding.claims == ("nvml:memory.bus_width_bits",)
    finding = only(bench.run("history.hour-meter", {"nvml:inforom.bbx_time_run_s": None}))
    assert "use driver 610 or newer" in finding.message
