"""Conflists of this node: our own, and further ones that a pod's annotation names. Read again when a file changes."""

from __future__ import annotations

from pathlib import Path

from kroute.codec.kni.cni import CniSyntax, Json, network_of, version
from kroute.model.kni import KniError, Refusal

_OLDEST = (0, 3, 0)
"""Of the versions of the specification whose results list interfaces and addresses."""
_SUFFIXES = (".conf", ".conflist", ".json")


class Networks:
    """The CNI folder as a runtime reads it."""

    def __init__(self, directory: str, file: str) -> None:
        self._folder = Path(directory)
        self._own = self._folder / file
        self._read: dict[Path, tuple[int, Json]] = {}

    def default(self) -> Json:
        """Our own conflist.

        Raises:
            KniError: it is not written yet, or cannot be read.
        """
        try:
            return self._load(self._own)
        except FileNotFoundError as error:
            raise KniError(
                Refusal.UNAVAILABLE,
                f"{self._own} is not there: it is written once this node's podCIDRs are known, and again within a "
                "minute where somebody has removed it; `kroute kni nodes` and `kroute show problems` say more",
            ) from error
        except (OSError, CniSyntax) as error:
            raise KniError(Refusal.BROKEN, f"{self._own}: {error}") from error

    def can_attach(self) -> bool:
        """Whether our own conflist is there and can be read."""
        try:
            self.default()
        except KniError:
            return False
        return True

    def named(self, name: str) -> Json:
        """The first conflist whose network has this name.

        Raises:
            KniError: there is none, or its results would be in a form that is not understood.
        """
        for path in sorted(p for p in self._folder.glob("*") if p.suffix in _SUFFIXES):
            try:
                found = self._load(path)
            except (OSError, CniSyntax):
                continue  # somebody else's broken file is no reason against this network
            if found["name"] == name:
                if version(found) < _OLDEST:
                    reason = f"{path}: the oldest cniVersion that is understood is 0.3.0"
                    raise KniError(Refusal.INVALID, reason)
                return found
        raise KniError(
            Refusal.INVALID,
            f"the pod asks for network {name!r}; no file in {self._folder} defines it",
        )

    def _load(self, path: Path) -> Json:
        """The network of a file; one value as long as the file is the same, so that records share it."""
        stamp = path.stat().st_mtime_ns
        known = self._read.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        network = network_of(path.read_bytes())
        self._read[path] = (stamp, network)
        return network
