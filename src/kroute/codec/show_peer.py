"""One peer as a page for people. Pure: the answer of ``/v1/peer`` in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kroute.codec.show import duration, text

_WIDTH: Final = 20

_CONFIGURED: Final = (
    ("their end", "address"),
    ("port", "port"),
    ("our end", "localAddress"),
    ("our port", "localPort"),
    ("bound to", "boundTo"),
    ("their AS", "asn"),
    ("our AS", "localAsn"),
    ("our router id", "routerId"),
    ("families", "families"),
    ("who connects", "initiate"),
    ("hold time", "holdTime"),
    ("keepalive", "keepalive"),
    ("connect retry", "connectRetry"),
    ("TCP MD5 key", "password"),
    ("TTL security", "ttlSecurity"),
    ("multihop", "multihop"),
    ("add-path receive", "addPath"),
    ("add-path send", "addPathSend"),
    ("add-path paths", "addPathSends"),
    ("extended next hop", "extendedNexthop"),
)


def page(answer: Mapping[str, Any]) -> str:
    """The page: what is wrong and what to do first, then everything else."""
    lines = [f"{answer['name']}: {answer['state']}{_since(answer['timers'])}"]
    for name, key in (("description", "description"), ("why not", "reason"), ("next", "hint")):
        if answer[key]:
            lines.append(_line(name, answer[key]))
    lines += [_line("declined", words) for words in answer["declined"]]
    lines += _error(answer["lastError"])
    lines += ["", "configured"]
    lines += [
        _line(name, answer["configured"][key])
        for name, key in _CONFIGURED
        if answer["configured"][key] not in (None, [])
    ]
    lines += _negotiated(answer["negotiated"])
    lines += ["", "timers and counters", *_counters(answer)]
    lines += ["", "prefixes", *_prefixes(answer)]
    lines += ["", "graceful restart", *_restart(answer["gracefulRestart"])]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Any) -> str:
    return f"  {name:<{_WIDTH}}{text(value)}"


def _since(timers: Mapping[str, Any]) -> str:
    seconds = timers["up"] if timers["up"] is not None else timers["down"]
    return f" for {duration(seconds)}"


def _error(error: Mapping[str, Any] | None) -> list[str]:
    if error is None:
        return []
    by = {"us": "we said so", "peer": "the peer said so"}.get(error["by"], "")
    ago = f"{duration(error['ago'])} ago" if error["ago"] is not None else ""
    aside = ", ".join(part for part in (by, ago) if part)
    return [_line("last error", error["words"] + (f" ({aside})" if aside else ""))]


def _negotiated(agreed: Mapping[str, Any] | None) -> Iterator[str]:
    if agreed is None:
        return
    yield ""
    yield "negotiated"
    yield _line("their router id", agreed["routerId"])
    yield _line("hold time", f"{agreed['holdTime']} s, a KEEPALIVE every {agreed['keepalive']} s")
    yield _line("message size", agreed["messageSize"])
    rows = [("capability", "ours", "theirs", "holds")]
    rows += [
        (c["name"], c["ours"] or "-", c["theirs"] or "-", text(c["holds"]))
        for c in agreed["capabilities"]
    ]
    yield from _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _counters(answer: Mapping[str, Any]) -> Iterator[str]:
    timers, counters = answer["timers"], answer["counters"]
    if timers["silence"] is not None:
        yield _line("last heard", f"{duration(timers['silence'])} ago")
    if timers["retryIn"] is not None:
        yield _line("next attempt in", f"{timers['retryIn']} s")
    wire = counters["connection"]
    if wire and "received" in wire:
        for way in ("received", "sent"):
            words = ", ".join(f"{count} {kind}" for kind, count in wire[way].items() if count)
            yield _line(f"messages {way}", words)
        yield _line(
            "octets",
            f"{wire['octetsIn']} received, {wire['octetsOut']} sent, {wire['queued']} waiting",
        )
        yield _line("opened by", wire["openedBy"])
    yield _line("UPDATEs, all told", counters["updates"])
    yield _line("sessions lost", counters["flaps"])
    if counters["faults"]:
        yield _line("faulty UPDATEs", f"{counters['faults']}, last: {counters['lastFault']}")


def _prefixes(answer: Mapping[str, Any]) -> Iterator[str]:
    for way, counts in answer["prefixes"].items():
        yield _line(way, ", ".join(f"{count} {family}" for family, count in counts.items()))
    limit = answer["maxPrefixes"]
    yield _line(
        "limit per family",
        f"{limit['limit']} (warning at {limit['warningAt']}; then: {limit['action']})",
    )
    if limit["ignored"]:
        yield _line("over the limit", limit["ignored"])
    if limit["downFor"] is not None:
        yield _line("stays down for", duration(limit["downFor"]))


def _restart(restart: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = restart["restartTime"], restart["peerRestartTime"]
    yield _line(
        "ours",
        "off" if ours is None else f"{ours} s, stale routes at most {restart['staleTime']} s",
    )
    yield _line("theirs", "not offered" if theirs is None else f"{theirs} s")
    if restart["peerKeeps"]:
        yield _line("forwarding kept", restart["peerKeeps"])
    yield _line("End-of-RIB received", restart["endOfRibReceived"])
    if restart["endOfRibOwed"]:
        yield _line("End-of-RIB owed", restart["endOfRibOwed"])
    if restart["staleFor"] is not None:
        yield _line("stale routes go in", duration(restart["staleFor"]))
