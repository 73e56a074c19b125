"""The TCP MD5 keys of peers, by the file they come from. Files come late, are rotated, and vanish for a while."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from kroute.drivers.secrets import read_password
from kroute.model.errors import DriverError


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a file: the key in force, None if none ever was, and what is wrong, empty if nothing."""

    text: str | None = field(repr=False)
    complaint: str = ""


NO_FILE = Key("")
"""Of a peer without a password."""


class Keyring:
    """Reads keys. A file that cannot be read any more leaves its last key in force: no session ends for that."""

    def __init__(self) -> None:
        self._known: dict[str, Key] = {}

    def key(self, path: str) -> Key:
        """The key for a peer, read now; an empty path names no file."""
        if not path:
            return NO_FILE
        found = self._known[path] = self._read(path)
        return found

    def keep(self, paths: Set[str]) -> None:
        """Forget the keys of all other files."""
        for path in self._known.keys() - paths:
            del self._known[path]

    def changed(self) -> bool:
        """Whether any file says another thing than when its key was asked for."""
        return any(self._read(path) != known for path, known in self._known.items())

    def _read(self, path: str) -> Key:
        try:
            return Key(read_password(path))
        except DriverError as error:
            before = self._known.get(path)
            if before is None or before.text is None:
                rest = "the session stays down and is never opened without its password"
                return Key(None, f"{error}; {rest}")
            return Key(before.text, f"{error}; the key it held before stays in force")
