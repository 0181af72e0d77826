"""The index of a claim set finds what a look through all claims would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import NVML_FIRST, ClaimSet

SOURCES = (Source.NVML, Source.PROCFS, Source.HOST)
IDS = ("gpu.name", "gpu.uuid", "gpu.serial")

CLAIMS = st.builds(
    lambda claim_id, source, value: Claim(
        id=claim_id,
        status=ClaimStatus.NOT_SUPPORTED if value is None else ClaimStatus.OK,
        value=value,
        source=source,
    ),
    st.sampled_from(IDS),
    st.sampled_from(SOURCES),
    st.none() | st.integers(0, 2),
)


@given(claims=st.lists(CLAIMS, max_size=9), again=st.booleans(), order=st.permutations(SOURCES))
def test_the_index_finds_what_a_look_through_all_finds(
    claims: list[Claim], again: bool, order: list[Source]
) -> None:
    if again:  # the very same objects stand twice
        claims = claims * 2
    made = ClaimSet(tuple(claims))
    kept: dict[tuple[str, Source], Claim] = {}
    for claim in claims:
        kept.setdefault((claim.id, claim.source), claim)
    assert [id(claim) for claim in made] == [id(claim) for claim in kept.values()]
    assert len(made) == len(kept)
    for claim_id in (*IDS, "gpu.other"):
        assert made.all(claim_id) == tuple(c for c in kept.values() if c.id == claim_id)
        for source in Source:
            one = made.get(claim_id, source)
            assert one is kept.get((claim_id, source), one)
            assert (one.status is ClaimStatus.NOT_ASKED) is ((claim_id, source) not in kept)
        for sources in ((), tuple(order), tuple(order[:1])):
            found = made.read(claim_id, *sources)
            asked = [kept.get((claim_id, source)) for source in sources or NVML_FIRST]
            there = [claim for claim in asked if claim is not None]
            if there:
                assert found is next((claim for claim in there if claim.ok), there[0])
            else:
                assert found.status is ClaimStatus.NOT_ASKED
            assert made.value(claim_id, *sources) == found.value
