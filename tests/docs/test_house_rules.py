"""Rules of the house that no linter holds: sizes of files and functions, one door per danger."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = sorted((ROOT / "gpuverify").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FILE_LINES = 500
FUNCTION_LINES = 80


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES
    for function in functions(ast.parse(text)):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < FUNCTION_LINES, function.name


def test_the_source_is_free_of_code_in_data_and_stray_output() -> None:
    for path in PACKAGE:
        inside_cli = path.is_relative_to(ROOT / "gpuverify" / "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), path
                assert node.func.id != "print" or inside_cli, path
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                module = getattr(node, "module", None) or ""
                assert not {"pickle", "marshal", "shelve"} & {*names, module}, path


def test_one_boundary_catches_everything() -> None:
    holders = []
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                names = (
                    [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)]
                    if node.type
                    else [""]
                )
                if {"Exception", "BaseException", ""} & set(names):
                    holders.append(path.relative_to(ROOT).as_posix())
    assert set(holders) <= {
        "gpuverify/cli/boundary.py",
        "gpuverify/cli/entry.py",
        # The thread boundary hands everything to the main thread, where it is raised again.
        "gpuverify/collect/watch.py",
    }, holders


def test_public_functions_have_docstrings() -> None:
    for path in PACKAGE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_tests_stay_small_too() -> None:
    long = [path.name for path in TESTS if path.read_text("utf-8").count("\n") > FILE_LINES]
    assert long == []
