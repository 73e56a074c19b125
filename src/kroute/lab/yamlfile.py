"""Reading YAML as containerlab does: strictly, and with shell-like variables expanded first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kroute.lab.errors import LabError

_VARIABLE = re.compile(
    r"\$\$|\$\{(?P<name>\w+)(?P<op>:?[-=+])?(?P<word>[^}]*)\}|\$(?P<bare>[A-Za-z_]\w*)"
)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Expands ``$V``, ``${V}``, ``${V:-word}``, ``${V:=word}``, ``${V:+word}`` and ``$$``; unset means empty."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        operator, word = match["op"] or "", match["word"] or ""
        found = variables.get(match["name"] or match["bare"])
        present = found is not None and (found != "" or not operator.startswith(":"))
        if operator.endswith("+"):
            return word if present else ""
        if operator:
            return str(found) if present else word
        return found or ""

    return _VARIABLE.sub(value, text)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a mapping that names a key twice: the one written first would silently vanish."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands here twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read(path: Path) -> str:
    """A file's text.

    Raises:
        LabError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path.name}: cannot be read: {error}") from error


def parse(source: str, text: str) -> Any:
    """The document in ``text``.

    Raises:
        LabError: it is not one YAML document; says the line and column within ``source``.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise LabError(f"{where}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise LabError(f"{source}: {error}") from error
    except RecursionError as error:
        raise LabError(f"{source}: is nested too deeply") from error


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` (did you mean x?)`` where one of the known words is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
