"""The speaker becomes nobody, who may not be able to read its code (a clone in /root): all is loaded before."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import exabgp

import kroute

NEVER_CALLED = {"exabgp.configuration.check"}
"""By the reactor of ExaBGP's own program, which is not ours."""
LOADED = "import sys, kroute.speaker.__main__; print(*sorted(sys.modules))"


def loaded() -> dict[str, Path]:
    """The modules of kroute and ExaBGP that the speaker has loaded when it starts, and their files."""
    command = [sys.executable, "-c", LOADED]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    roots = {"exabgp": Path(exabgp.__path__[0]), "kroute": Path(kroute.__path__[0])}
    found: dict[str, Path] = {}
    for name in names:
        first, *rest = name.split(".")
        if first in roots:
            path = roots[first].joinpath(*rest)
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            found |= {name: file} if file.exists() else {}  # a folder can be a package without
    return found


def later(name: str, path: Path) -> Iterator[str]:
    """Modules that functions of this one import when they are called."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for function in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield resolve_name("." * node.level + (node.module or ""), package)


def test_nothing_is_left_to_load_once_the_speaker_has_given_up_its_rights():
    modules = loaded()
    assert "exabgp.reactor.peer" in modules, "the search finds what there is"
    wanted = {other for name, path in modules.items() for other in later(name, path)}
    missing = {w for w in wanted if w.split(".")[0] in ("exabgp", "kroute")} - modules.keys()
    assert missing - NEVER_CALLED == set()
