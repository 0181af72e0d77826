"""The kernel packs as shipped: current, small in what they use, and fit for every assembler."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuverify.measure.packs import PACKS, RECORD_WORDS, TILE_THREADS, Kernel, pack_text

ROOT = Path(__file__).resolve().parents[2]

# What each release of the assembler can target, of the GPUs that a pack may meet.
ARCHITECTURES = {
    "11.8": (70, 75, 80, 86, 89, 90),
    "12.9": (70, 75, 80, 86, 89, 90, 100, 103, 120, 121),
    "13.0": (75, 80, 86, 89, 90, 100, 103, 110, 120, 121),
}
# CUDA release to the newest PTX that it takes (PTX ISA, release notes).
NEWEST_PTX = {"11.8": (7, 8), "12.9": (8, 8), "13.0": (9, 0)}

PLAIN = {
    "add", "and", "atom", "bra", "cvt", "cvta", "fma", "ld", "mad", "mma", "mov", "mul", "or",
    "rem", "ret", "selp", "setp", "shl", "shr", "st", "sub", "xor",
}  # fmt: skip
FORBIDDEN = (".shared", ".local", "bar.", "shfl", "vote", ".extern", "call")


def load_build_packs() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(
        "build_packs", ROOT / "tests" / "tools" / "build_packs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up while it is made.
    sys.modules["build_packs"] = module
    spec.loader.exec_module(module)
    return module


BUILD = load_build_packs()


def need_nvrtc(pack: str) -> None:
    release = BUILD.RECIPES[pack].nvrtc
    if BUILD.find_nvrtc(release) is None:
        pytest.skip(f"NVRTC {release} is not installed: pip install -e '.[kernels]'")


@pytest.fixture(scope="session")
def assemblers() -> dict[str, Path]:
    found: dict[str, Path] = BUILD.find_ptxas()
    missing = sorted(set(ARCHITECTURES) - set(found))
    if missing:
        pytest.skip(f"ptxas {', '.join(missing)}: see gpuverify/measure/kernels/README.md")
    return found


def instructions(text: str) -> Iterator[str]:
    """The opcodes of a PTX text, with all their suffixes."""
    for line in text.splitlines():
        match = re.match(r"\s+(?:@!?%p\d+ )?([a-z][a-z0-9_.:]*)", line)
        if match:
            yield match.group(1)


def assemble(ptxas: Path, sm: int, text: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    source = folder / "pack.ptx"
    source.write_bytes(text)
    command = [str(ptxas), "-v", f"-arch=sm_{sm}", str(source), "-o", str(folder / "pack.cubin")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.required
@pytest.mark.parametrize("pack", PACKS)
def test_the_shipped_text_is_what_the_source_gives(pack: str) -> None:
    need_nvrtc(pack)
    built = BUILD.build(pack)
    assert hashlib.sha256(built).hexdigest() == hashlib.sha256(pack_text(pack)).hexdigest(), (
        "run tests/tools/build_packs.py"
    )


@pytest.mark.required
@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("release", ARCHITECTURES)
def test_every_assembler_takes_the_pack_without_spills(
    pack: str, release: str, assemblers: dict[str, Path], tmp_path: Path
) -> None:
    major, minor = PACKS[pack].minimum_capability
    if PACKS[pack].ptx_version > NEWEST_PTX[release]:
        refused = assemble(assemblers[release], 90, pack_text(pack), tmp_path)
        assert refused.returncode != 0
        assert "Unsupported .version" in refused.stderr
        return
    targets = [sm for sm in ARCHITECTURES[release] if sm >= 10 * major + minor]
    assert targets
    for sm in targets:
        result = assemble(assemblers[release], sm, pack_text(pack), tmp_path)
        assert result.returncode == 0, f"sm_{sm}: {result.stderr[:300]}"
        said = result.stdout + result.stderr
        spilled = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", said)
        assert len(spilled) == len(PACKS[pack].kernels)
        assert set(spilled) == {("0", "0", "0")}, f"sm_{sm}"
        # A block has to find registers, of which there are 65536: 1024 threads, 512 for a tensor
        # kernel.
        limit = 64 if pack == "base" else 128
        assert max(int(used) for used in re.findall(r"Used (\d+) registers", said)) <= limit


NEWER = {
    # Each is one step beyond its pack: the FP16 mma is PTX 7.0 and sm_80, FP8 is 8.4 and sm_89,
    # block-scaled FP4 is 8.7 and sm_120a.
    "base": "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {a,a},{a,a,a,a},{a,a},{a,a};",
    "tensor": "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
    "{f,f,f,f},{a,a,a,a},{a,a},{f,f,f,f};",
    "fp8": "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e2m1.e2m1.f32 "
    "{f,f,f,f},{a,a,a,a},{a,a},{f,f,f,f};",
}


@pytest.mark.required
@pytest.mark.parametrize("pack", PACKS)
def test_a_newer_instruction_is_refused(
    pack: str, assemblers: dict[str, Path], tmp_path: Path
) -> None:
    text = pack_text(pack).decode()
    planted = f".reg .b32 a; .reg .f32 f; {NEWER[pack]} ret;"
    spoilt = text.replace("ret;", planted, 1)
    assert spoilt != text
    release = "12.9"
    for sm in (90, 120):
        assert assemble(assemblers[release], sm, text.encode(), tmp_path).returncode == 0
        refused = assemble(assemblers[release], sm, spoilt.encode(), tmp_path)
        assert refused.returncode != 0, f"sm_{sm}"
        assert "error" in refused.stderr


@pytest.mark.required
def test_a_planted_instruction_of_its_own_age_is_not_refused(
    assemblers: dict[str, Path], tmp_path: Path
) -> None:
    # Else the test above would only show that planting breaks the file.
    planted = ".reg .b32 a; .reg .f32 f; mov.b32 a, 0; ret;"
    text = pack_text("base").decode().replace("ret;", planted, 1)
    assert assemble(assemblers["12.9"], 90, text.encode(), tmp_path).returncode == 0


@pytest.mark.parametrize("pack", PACKS)
def test_the_header_says_what_the_table_says(pack: str) -> None:
    text = pack_text(pack).decode("ascii")
    major, minor = PACKS[pack].ptx_version
    assert re.findall(r"^\.version (.*)$", text, re.MULTILINE) == [f"{major}.{minor}"]
    assert re.findall(r"^\.target (.*)$", text, re.MULTILINE) == [PACKS[pack].target]
    capability = PACKS[pack].minimum_capability
    assert PACKS[pack].target == f"sm_{capability[0]}{capability[1]}"
    assert BUILD.RECIPES[pack].version == f"{major}.{minor}"


@pytest.mark.parametrize("pack", PACKS)
def test_the_entries_are_the_kernels_of_the_table(pack: str) -> None:
    text = pack_text(pack).decode("ascii")
    entries = {
        name: re.findall(r"\.param \.(\w+)", parameters)
        for name, parameters in re.findall(r"\.visible \.entry (\w+)\(([^)]*)\)", text)
    }
    assert set(entries) == set(PACKS[pack].kernels)
    for name, kernel in PACKS[pack].kernels.items():
        assert entries[name] == ["u64"] * len(kernel.arguments), name


@pytest.mark.parametrize("pack", PACKS)
def test_the_packs_use_few_kinds_of_instruction(pack: str) -> None:
    text = pack_text(pack).decode("ascii")
    used = {opcode.split(".")[0] for opcode in instructions(text)}
    assert used <= PLAIN
    for word in FORBIDDEN:
        assert word not in text, word
    # Addresses are global ones, always: a generic access would hide a slip.
    for opcode in instructions(text):
        if opcode.split(".")[0] in {"ld", "st", "atom"}:
            assert opcode.split(".")[1] in {"global", "param"}, opcode


@pytest.mark.parametrize(
    ("kernel", "opcode", "count"),
    [
        ("chain_fma_f32", "fma.rn.f32", 128),
        ("chain_fma_f64", "fma.rn.f64", 128),
        ("chain_fma_f16x2", "fma.rn.f16x2", 128),
        ("chain_mul_add_f32", "mul.rn.f32", 128),
        ("chain_mul_add_f32", "add.rn.f32", 128),
        ("chain_imad_u32", "mad.lo.u32", 128),
        ("census", "mad.lo.u32", 64),
        ("l2_read", "ld.global.cg.v2.u64", 8),
        ("chase", "ld.global.u64", 16),
        ("cap_write", "st.global.v2.u64", 4),
        ("cap_digest", "ld.global.v2.u64", 16),
    ],
)
def test_a_kernel_holds_exactly_the_work_that_it_is_named_for(
    kernel: str, opcode: str, count: int
) -> None:
    assert list(instructions(body(pack_text("base").decode(), kernel))).count(opcode) == count


@pytest.mark.parametrize(
    ("pack", "kernel"), [(p, k) for p in ("tensor", "fp8") for k in PACKS[p].kernels]
)
def test_a_tensor_kernel_holds_eight_instructions(pack: str, kernel: str) -> None:
    opcodes = list(instructions(body(pack_text(pack).decode(), kernel)))
    assert sum(opcode.startswith("mma.sync.aligned.") for opcode in opcodes) == 8


def body(text: str, kernel: str) -> str:
    return text.split(f".entry {kernel}(")[1].split("\n}", maxsplit=1)[0]


@pytest.mark.parametrize("pack", PACKS)
def test_the_clocks_stand_around_the_work(pack: str) -> None:
    text = pack_text(pack).decode("ascii")
    for name, kernel in PACKS[pack].kernels.items():
        readings = body(text, name).count("%clock64")
        assert readings == (2 if kernel.geometry in {"timed", "single"} else 0), name
        assert body(text, name).count("%globaltimer") == readings


@pytest.mark.required
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("capacity.cuh", "z ^= z >> 7;", ""),
        ("capacity.cuh", "mix_b(lo + k1)", "mix_b(lo + 1)"),
        ("timing.cuh", "(sum ^ bits)", "(sum + bits)"),
    ],
)
def test_a_changed_source_gives_other_text(file: str, old: str, new: str) -> None:
    need_nvrtc("base")
    source = BUILD.sources()[file]
    assert old in source
    changed = BUILD.build("base", {file: source.replace(old, new)})
    assert changed != pack_text("base")


@pytest.mark.required
def test_a_broken_source_is_an_error_with_its_log() -> None:
    need_nvrtc("base")
    with pytest.raises(BUILD.CompileError, match=r"base\.cu"):
        BUILD.build("base", {"base.cu": "this is no program"})


def test_a_text_without_a_header_is_refused() -> None:
    with pytest.raises(BUILD.CompileError, match=r"0 \.version lines"):
        BUILD.lower_header(".target sm_70\n", "6.4")


@pytest.mark.required
def test_check_tells_a_stale_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for pack in PACKS:
        need_nvrtc(pack)
    assert BUILD.main(["--check"]) == 0
    for path in BUILD.KERNELS.glob("*.cu*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(BUILD, "KERNELS", tmp_path)
    assert BUILD.main(["--check"]) == 1
    assert not list(tmp_path.glob("*.ptx"))
    assert BUILD.main([]) == 0
    assert BUILD.main(["--check"]) == 0
    assert (tmp_path / "base.ptx").read_bytes() == pack_text("base")


@pytest.mark.parametrize(
    ("cells", "count", "blocks"),
    [(4, 1, 1), (4, 1024, 1), (4, 1025, 2), (16, 4096, 1), (16, 65536, 16), (0, 257, 2)],
)
def test_the_grid_covers_every_cell(cells: int, count: int, blocks: int) -> None:
    kernel = Kernel(arguments=("buf",), geometry="tiled", cells_per_thread=cells)
    assert kernel.blocks(count) == blocks


@pytest.mark.parametrize("name", ["cap_check", "cap_digest", "bw_read", "butterfly", "chase_fill"])
@pytest.mark.parametrize("count", [0, -1])
def test_no_cells_are_refused(name: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"at least one cell or slot, not {count}"):
        PACKS["base"].kernels[name].blocks(count)


def test_pointers_are_told_from_numbers() -> None:
    base = PACKS["base"].kernels
    assert base["cap_check"].pointers == ("buf", "out", "rec")
    assert base["butterfly"].pointers == ("a", "b")
    assert base["chain_fma_f32"].pointers == ("rec", "sink")
    assert base["chase_fill"].pointers == ("base",)
    assert base["chase"].pointers == ("start", "rec")
    assert PACKS["tensor"].kernels["mma_s8"].pointers == ("afrag", "bfrag", "rec", "sink")


def test_the_constants_of_the_source_are_those_of_the_table() -> None:
    text = BUILD.sources()
    assert f"* {TILE_THREADS};" in text["capacity.cuh"]
    assert f"rec + {RECORD_WORDS} *" in text["timing.cuh"]
    for name, kernel in PACKS["base"].kernels.items():
        if kernel.geometry == "tiled":
            cuda = text["capacity.cuh"].split(f"KERNEL {name}(")[1].split("KERNEL ")[0]
            assert set(re.findall(r"FOR_CELLS\((\d+),", cuda)) == {str(kernel.cells_per_thread)}
