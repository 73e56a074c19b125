"""Every package, module, public class and public function promises something in a docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
    """What a module or class offers, by dotted name, without private parts."""
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        name = f"{prefix}{node.name}"
        yield name, node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{name}.")


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_and_all_it_offers_are_documented(path: Path):
    tree = ast.parse(path.read_text())
    silent = [] if ast.get_docstring(tree) else ["the module itself"]
    silent += [name for name, node in public(tree.body, "") if not ast.get_docstring(node)]
    assert not silent, f"{path.relative_to(SOURCE)} lacks docstrings: {', '.join(silent)}"


def test_every_package_has_its_init():
    folders = {p.parent for p in MODULES}
    bare = [str(f.relative_to(SOURCE)) for f in folders if not (f / "__init__.py").exists()]
    assert not bare, f"folders of code that are no packages: {', '.join(bare)}"
