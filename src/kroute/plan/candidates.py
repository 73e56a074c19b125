"""The paths known for a prefix: one for each source that announces it."""

from __future__ import annotations

from collections.abc import Mapping

from kroute.model.net import Nlri
from kroute.plan.paths import Path, Source

Candidates = Path | tuple[Path, ...]
"""The paths known for a prefix; a single one, by far the commonest, stands for itself."""


def with_path(rivals: Candidates, path: Path) -> Candidates:
    """The rivals with this path in place of an older one of its source."""
    others = without(rivals, path.source)
    if others is None:
        return path
    return (others, path) if isinstance(others, Path) else (*others, path)


def without(rivals: Candidates, source: Source) -> Candidates | None:
    """The rivals but for the path of a source; None if nobody is left."""
    if isinstance(rivals, Path):
        return None if rivals.source is source else rivals
    left = tuple(p for p in rivals if p.source is not source)
    return None if not left else left[0] if len(left) == 1 else left


def by_path(block: Mapping[Nlri, Path]) -> dict[Path, list[Nlri]]:
    """Prefixes by the path that they are announced with."""
    found: dict[Path, list[Nlri]] = {}
    for nlri, path in block.items():
        found.setdefault(path, []).append(nlri)
    return found
