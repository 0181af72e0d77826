"""What the documents say is what the program does."""

from __future__ import annotations

import ast
import base64
import dataclasses
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gpuverify.appraise.claim import load_sale_claim
from gpuverify.model.finding import Group
from gpuverify.model.policy import Thresholds
from gpuverify.model.verdict import Verdict
from gpuverify.refdb import Database

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "80", "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, "-m", "gpuverify", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=folder or ROOT,
    )


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def readme_commands() -> list[str]:
    # The sections of a sale are run in their order: tests/docs/test_readme_story.py.
    story = README[README.index("## For resellers") : README.index("## What a verdict means")]
    text = README.replace(story, "")
    inline = re.findall(r"`(gpuverify [^`]+)`", text)
    blocks = re.findall(r"^    (gpuverify .+)$", text, re.MULTILINE)
    return [*inline, *blocks]


def test_the_readme_names_its_two_commands_and_make_has_them() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("run", "test"):
        assert f"    make {target}\n" in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", readme_commands())
def test_every_command_of_the_readme_is_accepted(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)[1:]
    if not words[0].islower() or "|" in command:
        pytest.fail(f"{command} is no command")
    (tmp_path / "order.toml").write_text(order_toml(), encoding="utf-8")
    if words[0] == "appraise":
        leaves = _smi_xml()
        (tmp_path / "log.txt").write_bytes(leaves)
        if "evidence.json" in words:
            made = run(
                "collect",
                "--replay",
                "ga100/a100-sxm4-80gb",
                "-o",
                "evidence.json",
                folder=tmp_path,
            )
            assert made.returncode == 0, made.stderr
    if words[0] == "device-evidence":
        (tmp_path / words[2]).write_text(attestation_json(), encoding="utf-8")
        done = run(*words, folder=tmp_path)
        # A chain that the tests made is no chain of NVIDIA's.
        assert (done.returncode, "chain-root" in done.stdout + done.stderr) == (65, True)
        return
    if words[0] == "collect":
        words += ["--replay", "ga100/a100-sxm4-80gb"]
    if words[0] == "check" and "--replay" not in words:
        words += ["--replay", "ga100/a100-sxm4-80gb-x8"]
    done = run(*words, folder=tmp_path)
    assert done.returncode in (0, 1, 2, 3), f"{words}: {done.stderr}"
    assert "Traceback" not in done.stderr


def attestation_json() -> str:
    """Evidence in the form of NVIDIA's tools, from a chain of the tests' own."""
    sys.path.insert(0, str(ROOT / "tests" / "device_evidence"))
    import attestation_support as made

    def pem(data: bytes) -> str:
        body = base64.encodebytes(data).decode()
        return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"

    chain = "".join(pem(one) for one in made.good_chain())
    entry = {
        "certificate": base64.b64encode(chain.encode()).decode(),
        "evidence": base64.b64encode(made.report_of(made.Report())).decode(),
    }
    return json.dumps([entry])


def _smi_xml() -> bytes:
    from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
    from gpuverify.sources.cases import load_case

    recording = load_case("gh100/h100-pcie-80gb").recording
    assert recording.nvidia_smi is not None
    return xml_from_leaves(recording.nvidia_smi.leaves)


def order_toml() -> str:
    start = README.index("An `order.toml`:")
    lines = README[start:].splitlines()[2:]
    block = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block)


def test_the_claim_file_of_the_readme_is_one(tmp_path: Path) -> None:
    path = tmp_path / "order.toml"
    path.write_text(order_toml(), encoding="utf-8")
    (item,) = load_sale_claim(str(path), None, None, None, Database.open()).items
    assert item.count == 8
    assert item.max_hours == 20000


def test_the_bundled_lie_contradicts_its_claim() -> None:
    done = run(*shlex.split("check --replay ga100/a100-40gb-sold-as-80gb --claim a100-sxm4-80gb"))
    assert done.returncode == 2
    assert "not a live card" in done.stdout


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_is_explained(verdict: Verdict) -> None:
    assert f"| `{verdict.value}` |" in README


def test_the_help_page_is_current() -> None:
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == tool(
        "generate_help"
    ).page()


def test_the_policy_page_names_every_threshold_with_its_default() -> None:
    page = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Thresholds):
        if field.name not in ("require_signed_module", "driver_min"):
            assert f"| `{field.name}` | {field.default} |" in page, field.name
    for group in Group:
        if group is not Group.DETAIL:
            assert group.value in page


def test_links_between_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#]+)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def strings(tree: ast.AST) -> list[str]:
    """String constants that are no docstrings."""
    documentation = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            documentation |= {
                id(statement.value) for statement in body if isinstance(statement, ast.Expr)
            }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation
    ]


def test_no_output_words_are_promises() -> None:
    """No text that can be printed calls a card genuine, fake or authentic, or says PASSED."""
    pattern = re.compile(r"(?i:\b(genuine|authentic|fake|counterfeit)\b)|PASSED")
    for path in sorted((ROOT / "gpuverify").rglob("*.py")):
        for text in strings(ast.parse(path.read_text(encoding="utf-8"))):
            assert not pattern.search(text), f"{path.name}: {text}"
