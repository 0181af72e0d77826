"""Many reports: put together, kept in order, in flat memory, whatever becomes of a process."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_support import (
    payload_of,
    seller,
    seller_payload,
    seller_report,
    server_set,
    terms,
    trust_file,
    trusted,
)

from gpuverify.cli.verify_many import RunMemory, outcomes
from gpuverify.cli.verify_outcome import Sighting, Unit
from gpuverify.cli.verify_pool import SERIAL_UNITS, laid_out
from gpuverify.cli.verifying import Asked, Bench, open_bench
from gpuverify.codec.report_units import MAX_UNIT, Document, iter_units, looks_signed
from gpuverify.errors import GpuverifyError, MissingInputError

pytestmark = pytest.mark.required


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GPUVERIFY_HOME", str(home))
    trust_file(home, trusted(seller()))
    return Asked(claim="a100-sxm4-80gb")


def fresh(number: int) -> bytes:
    name = str(uuid.UUID(int=number + (4 << 76) + (8 << 60)))
    old = seller_report().report_id.encode()
    return seller().bundle(seller_payload().replace(old, name.encode(), 1))


def named(*documents: bytes, file: str = "f") -> list[tuple[str, Document]]:
    return [(file, (f"{file}:{n}", data)) for n, data in enumerate(documents, 1)]


def shape(documents: list[tuple[str, Document]]) -> list[list[str]]:
    return [[origin for origin, _ in unit] for unit in iter_units(documents)]


def test_lone_reports_stay_alone() -> None:
    assert shape(named(fresh(1), fresh(2), b"rubbish")) == [["f:1"], ["f:2"], ["f:3"]]


def test_a_set_takes_what_follows_in_its_file() -> None:
    _, head, members = server_set()
    _, other, others = server_set(made=terms(remarks=("other",)))
    found = shape(named(fresh(1), head, *members, b"rubbish", other, *others))
    assert [len(unit) for unit in found] == [1, 10, 9]


def test_a_set_takes_the_files_that_it_lists() -> None:
    _, head, members = server_set()
    found = shape(
        [
            *named(head, file="set"),
            *(("m", (f"m{n}", data)) for n, data in enumerate(members)),
            ("m", ("twice", members[0])),
            *named(fresh(1), file="other"),
            ("m", ("late", members[1])),
        ]
    )
    assert [len(unit) for unit in found] == [10, 1, 1]


def test_a_unit_has_an_end() -> None:
    _, head, _ = server_set()
    found = list(iter_units(named(head, *([b"x"] * 600))))
    assert max(len(unit) for unit in found) == MAX_UNIT
    assert sum(len(unit) for unit in found) == 601


def test_what_looks_signed() -> None:
    assert looks_signed(fresh(1))
    assert looks_signed(seller().dsse(seller_payload()))
    assert not looks_signed(b'{"schema": "gpuverify/evidence/v1"}')
    assert not looks_signed(b"<?xml version='1.0'?>")
    assert not looks_signed(b"")


def test_what_a_run_remembers() -> None:
    memory = RunMemory()
    try:
        one = Sighting(
            name="a",
            payload_sha256="11",
            signature_sha256="22",
            keyid="k",
            nonce="aabb",
            origin="x",
        )
        assert memory.note(one)
        assert memory.note(one)
        assert not memory.note(replace(one, payload_sha256="99"))
        assert not memory.note(replace(one, name="b", payload_sha256="99"))
        assert memory.note(replace(one, name="b", payload_sha256="99", nonce=""))
        assert memory.report_payload("a") == "11"
        assert memory.challenge_use(b"\xaa\xbb") == "11"
        assert memory.challenge_use(b"\xaa") is None
        assert memory.first_seen_s("11") is None
    finally:
        memory.close()


def test_a_killed_process_loses_nothing(asked: Asked) -> None:
    """A process of the pool dies in the middle; what it held is done again, in order."""
    bench = open_bench(asked)
    killed: list[int] = []

    def units() -> Iterator[Unit | GpuverifyError]:
        for number in range(SERIAL_UNITS + 150):
            if number == SERIAL_UNITS + 100:
                for child in multiprocessing.active_children()[:1]:
                    assert child.pid is not None
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)
            yield (("missing", b""),) if number % 50 == 49 else ((str(number), fresh(number)),)

    found = list(laid_out(units(), asked, bench, "jsonl", 2))
    assert killed
    assert len(found) == SERIAL_UNITS + 150
    codes = [outcome[0].exit_code for _, outcome in found]
    assert codes == [65 if n % 50 == 49 else 0 for n in range(len(found))]


def test_a_missing_file_is_listed_among_the_others(asked: Asked, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(fresh(1))
    files = (str(path), str(tmp_path / "none.json"), str(path))
    found = list(outcomes(files, asked, open_bench(asked), form="jsonl", workers=1))
    assert [one.exit_code for one in found] == [0, 66, 0]
    assert isinstance(found[1].error, MissingInputError)
    assert json.loads(found[1].text)["error"]["code"] == "missing-input"


def test_what_was_accepted_is_written_down_where_the_reader_goes_away(
    asked: Asked, tmp_path: Path
) -> None:
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(fresh(number) for number in range(9)))
    recording = replace(asked, record=True)
    bench = open_bench(recording)
    found = outcomes((str(path),), recording, bench, form="jsonl", workers=1)
    sightings = [next(found).sighting for _ in range(4)]
    found.close()
    assert bench.journal is not None
    for sighting in sightings:
        assert sighting is not None
        assert bench.journal.report_payload(sighting.name) == sighting.payload_sha256


def rss_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def test_memory_stays_flat(asked: Asked, tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    with path.open("wb") as file:
        for number in range(500):
            file.write(fresh(number))
    bench: Bench = open_bench(asked)
    found = outcomes((str(path),), asked, bench, form="jsonl", workers=1)
    for _ in range(120):
        assert next(found).exit_code == 0
    gc.collect()
    before = rss_kib()
    assert sum(1 for one in found if one.exit_code == 0) == 380
    gc.collect()
    assert rss_kib() - before < 12 * 1024  # 380 reports have 37 MiB


def test_the_reports_differ() -> None:
    assert fresh(1) != fresh(2)
    assert payload_of(seller_report()) == seller_payload()
