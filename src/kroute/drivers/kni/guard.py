"""Looks after the doors while they are open: what others do to a socket's place, mode, owner or lock is undone.

Nobody is displaced for that: what is in a socket's place and alive, or no socket, is told of until it has gone.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from kroute.drivers.kni.door import Door
from kroute.drivers.kni.peers import put_out
from kroute.model.errors import DriverError
from kroute.model.problem import Problem, Severity

log = logging.getLogger(__name__)

ACCESS, LOCK, LOST, REMOVED = "access", "lock", "lost", "removed"
"""What is mended: mode or owner, the lock, a socket of which no name was left, one that was not in its place."""


class Guard:
    """Of one server's doors; :meth:`look` is called about each second, by one thread."""

    def __init__(
        self,
        listen_anew: Callable[[Door], Door],
        tell: Callable[[tuple[Problem, ...]], None] = lambda _problems: None,
    ) -> None:
        """``listen_anew`` puts an open door in place of one whose socket has no name any more, or raises DriverError.

        ``tell`` hears all that is wrong whenever that has changed, from the thread that looks.
        """
        self.mended: Counter[tuple[str, str]] = Counter()
        """By path and what it was."""
        self.strangers = 0
        """Connections shut down that others than root had made."""
        self.complaints: tuple[str, ...] = ()
        """What is wrong with the sockets, and what is still in force, in words."""
        self._listen_anew = listen_anew
        self._tell = tell
        self._doors: list[Door] = []
        self._names: set[str] = set()
        """Where the doors' sockets were bound: accepted connections bear these names."""
        self._changed: dict[str, int] = {}
        """By path: when the socket's names, mode or owner had changed last (st_ctime_ns)."""
        self._is_wary = False
        """Whether others may have come in since the last look but one."""
        self._mutex = threading.Lock()

    def watch(self, doors: Iterable[Door]) -> None:
        """Look after these from now on; they are open."""
        with self._mutex:
            for door in doors:
                self._add(door)

    def release(self) -> list[Door]:
        """Look after the doors no more; they are returned as they are."""
        with self._mutex:
            doors, self._doors = self._doors, []
        return doors

    def places(self) -> dict[str, bool]:
        """By path: whether it leads to our socket."""
        with self._mutex:
            return self._places()

    def look(self) -> None:
        """Undo what was done to the doors since the last look, and tell of what cannot be undone."""
        with self._mutex:
            # Twice: whoever came in just before the socket was closed to them may not have been accepted yet.
            may_be_in, self._is_wary = self._is_wary, False
            wrong = [words for door in list(self._doors) for words in self._mend(door)]
            if may_be_in or self._is_wary:
                self._put_out()
            self._report(wrong)

    def _add(self, door: Door) -> None:
        state = door.state()
        assert state is not None
        self._doors.append(door)
        self._names.add(str(door.draft))
        self._changed[str(door.path)] = state.st_ctime_ns

    def _places(self) -> dict[str, bool]:
        return {str(door.path): door.is_in_place() for door in self._doors}

    # --- what is mended -----------------------------------------------------------------------------------

    def _mend(self, door: Door) -> Iterator[str]:
        """Yields what stays wrong."""
        state = door.state()
        if state is None:
            yield from self._try(door, LOST, partial(self._renew, door))
            return
        loose = list(self._try(door, ACCESS, partial(door.tighten, state)))
        # A mode that is right again says nothing about the time in between; that it was changed does.
        if loose or state.st_ctime_ns != self._changed[str(door.path)]:
            self._is_wary = True
            self._changed[str(door.path)] = state.st_ctime_ns
        yield from loose
        yield from self._try(door, REMOVED, partial(door.put_back, state))
        yield from self._try(door, LOCK, door.lock_again)

    def _try(self, door: Door, harm: str, mend: Callable[[], str]) -> Iterator[str]:
        """``mend`` returns what it has mended, in words; this yields why it could not."""
        try:
            mended = mend()
        except DriverError as error:
            yield str(error)
        except OSError as error:
            yield f"KNI socket {door.path}: {harm}, and it cannot be mended: {error.strerror}"
        else:
            if mended:
                log.warning("KNI socket %s %s", door.path, mended)
                self.mended[str(door.path), harm] += 1

    def _renew(self, door: Door) -> str:
        fresh = self._listen_anew(door)
        self._doors.remove(door)
        self._add(fresh)
        return "was removed with all that kroute kept beside it; kroute listens there anew"

    def _put_out(self) -> None:
        for peer in put_out(self._names):
            log.warning(
                "KNI connection of %s ended: it was made while a socket was open to others than root; "
                "what it asked for until now has been done",
                peer,
            )
            self.strangers += 1

    def _report(self, wrong: list[str]) -> None:
        rest = f"; {self._in_force()}" if wrong else ""
        complaints = tuple(f"{words}{rest}" for words in wrong)
        if complaints == self.complaints:
            return
        for words in complaints:
            if words not in self.complaints:
                log.error("%s", words)
        if not complaints:
            log.info("KNI sockets are in order again")
        self.complaints = complaints
        self._tell(
            tuple(Problem(object="kni", reason=c, severity=Severity.ERROR) for c in complaints)
        )

    def _in_force(self) -> str:
        places = self._places()
        ours = [path for path, is_ours in places.items() if is_ours]
        if not ours:
            return "no kubelet reaches kroute meanwhile"
        only = "" if len(ours) == len(places) else " only"
        return f"kubelets reach kroute at {', '.join(ours)}{only} meanwhile"
