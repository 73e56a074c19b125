"""The TCP MD5 keys of peers, by the file, Secret or annotation they come from. They come late, are rotated, vanish for
a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol

from kroute.drivers.secrets import exact_key, read_password, usable_key
from kroute.model.bgp import Peer
from kroute.model.errors import DriverError
from kroute.model.session_keys import AnnotatedKey, AnnotationKey, SecretKey

Place = str | SecretKey | AnnotationKey
"""Where a key is: a file's path, an entry of a Kubernetes Secret, or the own node's annotations. An empty path: no key
is wanted."""


def place_of(peer: Peer) -> Place:
    """Where a peer's key is."""
    if peer.password_annotation:
        return AnnotationKey(address=str(peer.address))
    return peer.password_secret or peer.password_file


def option_of(place: Place) -> str:
    """The option of a peer that names the place."""
    match place:
        case SecretKey():
            return "passwordSecret"
        case AnnotationKey():
            return "passwordAnnotation"
        case _:
            return "passwordFile"


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a place: the key in force, None if none ever was, and what is wrong, empty if nothing."""

    text: str | None = field(repr=False)
    complaint: str = ""


NO_FILE = Key("")
"""Of a peer without a password."""


class Secrets(Protocol):
    """Who reads Kubernetes Secrets."""

    def follow(self, wanted: Iterable[SecretKey]) -> None:
        """Follow these entries and no others."""

    def read(self, secret: SecretKey) -> str:
        """The entry as it is known now; raises DriverError if it is not."""


class NoSecrets:
    """Stands where there is nobody to ask."""

    def follow(self, wanted: Iterable[SecretKey]) -> None:
        """Nothing is followed."""

    def read(self, secret: SecretKey) -> str:
        """Nothing is known.

        Raises:
            DriverError: always.
        """
        raise DriverError(f"{secret} cannot be read here")


class Keyring:
    """Reads keys. A place that cannot be read any more leaves its last key in force: no session ends for that."""

    def __init__(self, secrets: Secrets | None = None) -> None:
        self._known: dict[Place, Key] = {}
        self._annotated: Mapping[str, AnnotatedKey] = {}
        self._secrets = secrets or NoSecrets()

    def told(self, annotated: Mapping[str, AnnotatedKey]) -> None:
        """What the own node's annotations say now, of each peer that they give a password for."""
        self._annotated = annotated

    def key(self, place: Place) -> Key:
        """The key for a peer, read now."""
        if not place:
            return NO_FILE
        found = self._known[place] = self._read(place)
        return found

    def keep(self, places: Set[Place]) -> None:
        """Follow these places and forget the keys of all others."""
        for place in self._known.keys() - places:
            del self._known[place]
        self._secrets.follow(sorted(p for p in places if isinstance(p, SecretKey)))

    def changed(self) -> bool:
        """Whether any place says another thing than when its key was asked for."""
        return any(self._read(place) != known for place, known in self._known.items())

    def _read(self, place: Place) -> Key:
        try:
            if isinstance(place, SecretKey):
                return Key(usable_key(self._secrets.read(place), str(place)))
            if isinstance(place, AnnotationKey):
                return Key(exact_key(self._annotation(place), str(place)))
            return Key(read_password(place))
        except DriverError as error:
            before = self._known.get(place)
            if before is None or before.text is None:
                rest = "the session stays down and is never opened without its password"
                return Key(None, f"{error}; {rest}")
            return Key(before.text, f"{error}; the key it held before stays in force")

    def _annotation(self, place: AnnotationKey) -> str:
        found = self._annotated.get(place.address)
        if found is None:
            raise DriverError(f"{place} is not there")
        if found.key is None:
            raise DriverError(f"{place} {found.complaint}")
        return found.key.reveal()
