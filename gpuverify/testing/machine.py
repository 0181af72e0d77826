"""Whole machines made from descriptions of cards."""

from __future__ import annotations

from collections.abc import Sequence

from gpuverify.sources.recording import Origin, Recording, SmiEntry
from gpuverify.testing.cards import SyntheticCard
from gpuverify.testing.host_files import SyntheticHost, host_commands, host_files
from gpuverify.testing.nvml_calls import device_calls, system_calls
from gpuverify.testing.smi_leaves import document_leaves

DEFAULT_DRIVER = "580.105.08"
_CUDA = {
    460: 11020, 470: 11040, 510: 11060, 525: 12000, 535: 12020, 550: 12040, 560: 12060, 570: 12080,
    580: 13000, 590: 13010, 610: 13030,
}  # fmt: skip


def synthetic_recording(
    cards: Sequence[SyntheticCard],
    driver: str = DEFAULT_DRIVER,
    host: SyntheticHost | None = None,
    text: str = "",
) -> Recording:
    """Make the recording of a machine on which the given cards would show what is described.

    NVML, nvidia-smi, PCI configuration, procfs and the host's files agree with each other. An
    older driver lacks the functions that came later, as a real one does.

    Args:
        cards: Descriptions in the order of NVML's indices; bus ids, UUIDs and minors distinct.
        driver: Driver version, e.g. "535.183.01".
        host: The machine around the cards; an honest server by default.
        text: What the origin says beside "synthetic".
    """
    host = host or SyntheticHost()
    branch = int(driver.partition(".")[0])
    cuda = max((version for since, version in _CUDA.items() if since <= branch), default=11000)
    calls = system_calls(cards, driver, cuda)
    for index, card in enumerate(cards):
        calls += device_calls(card, index, driver)
    return Recording(
        origin=Origin(
            kind="synthetic",
            text=f"No card produced this. {text}".strip(),
            licence="Apache-2.0",
        ),
        tool="gpuverify.testing.synthetic_recording",
        unlisted="absent",
        calls=tuple(calls),
        nvidia_smi=SmiEntry(leaves=tuple(document_leaves(cards, driver, cuda))),
        files=host_files(cards, driver, host),
        commands=host_commands(cards, driver, host),
    )
