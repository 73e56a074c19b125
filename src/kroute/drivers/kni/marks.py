"""Our mark on the node's ends of pods' veths: an alias (`ip link` shows it) that outlives the daemon and its store.

Only what bears it is ever removed by garbage collection, and an alias that somebody else gave is never overwritten.
With the mark comes an interface group, by which those who watch links leave out the ends of pods.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

from kroute.codec.kni import veth
from kroute.drivers.kni.talk import Refused, Talk
from kroute.model.kni import KniError
from kroute.plan.kni_gc import mark_of, marked_for

log = logging.getLogger(__name__)


def veths() -> dict[str, veth.LinkState]:
    """The veths of this namespace that bear our mark, by name.

    Raises:
        KniError: the kernel refuses.
    """
    with closing(Talk()) as talk:
        return {link.name: link for link in talk.veths() if marked_for(link.alias)}


def container_of(link: veth.LinkState) -> str:
    """The container that a veth's mark names."""
    return marked_for(link.alias)


def still_there(link: veth.LinkState) -> bool:
    """Whether a veth that was seen is there, under its name and mark.

    Raises:
        KniError: the kernel refuses.
    """
    with closing(Talk()) as talk:
        now = talk.link(link.name)
    return now is not None and (now.ifindex, now.alias) == (link.ifindex, link.alias)


def remove(link: veth.LinkState) -> None:
    """Remove a veth, and with it its other end; one that is gone already is no error.

    Raises:
        KniError: the kernel refuses.
    """
    with closing(Talk()) as talk:
        try:
            talk.tell(veth.delete_index(link.ifindex))
        except Refused as refused:
            if refused.errno != errno.ENODEV:
                raise


def mark_result(container: str, result: Mapping[str, Any]) -> None:
    """Mark the veths that a CNI result names outside of the sandbox. What cannot be marked is no error: it is the
    record that counts, and the next collection tries again."""
    interfaces = result.get("interfaces") or ()
    names = [str(i.get("name", "")) for i in interfaces if not i.get("sandbox")]
    with suppress(OSError):
        mark({name: container for name in names if name})


def mark(wanted: Mapping[str, str]) -> None:
    """Mark these interfaces (name to container) as far as they are veths without any alias."""
    if not wanted:
        return
    with closing(Talk()) as talk:
        for link in _unmarked(talk, wanted):
            try:
                talk.tell(veth.mark(link.ifindex, mark_of(wanted[link.name])))
            except KniError as error:
                log.debug("veth %s cannot be marked: %s", link.name, error)


def _unmarked(talk: Talk, names: Iterable[str]) -> Iterator[veth.LinkState]:
    for name in names:
        with suppress(KniError):
            link = talk.link(name)
            if link is not None and link.kind == "veth" and not link.alias:
                yield link
