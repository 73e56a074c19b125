"""What to do next about a session that is not as wanted: one sentence for each common failure."""

from __future__ import annotations

import re
from typing import Final

from kroute.model.bgp import Peer
from kroute.plan.declined import declined_hint
from kroute.plan.peers import PeerState

_NOTICE: Final = re.compile(r"(sent|received) NOTIFICATION (\d+)/(\d+)")

_SENT: Final = {
    (2, 2): "set `asn` to the AS that the peer says it is, or correct the peer",
    (2, 3): "two speakers have one router id: give one of them another (`bgp.routerId`)",
    (2, 6): "the peer offers a hold time below 3 s: raise it there",
    (2, 7): "no family is common: offer one that the peer has (`families`), or enable ours there",
    (
        4,
        0,
    ): "nothing came from the peer for the hold time: is it overloaded, or the way to it broken? "
    "A TCP MD5 key that only one end changed looks the same",
    (8, 0): "the peer reads nothing: it hangs or is overloaded",
    (6, 8): "the peer read too slowly for what it is told: is it overloaded?",
}
_RECEIVED: Final = {
    (
        2,
        2,
    ): "the peer expects another AS of us: compare its remote AS with `localAsn` (or `bgp.asn`)",
    (2, 3): "the peer refuses our router id: is it used twice? (`bgp.routerId`)",
    (2, 6): "the peer does not want our hold time: change `holdTime`",
    (
        2,
        7,
    ): "the peer requires a capability that we do not offer: compare `families` and the peer's own list",
    (
        4,
        0,
    ): "the peer heard nothing of us for the hold time: is the way to it broken, or this node overloaded? "
    "A TCP MD5 key that only one end changed looks the same",
    (6, 1): "the peer takes fewer prefixes than it was told: raise its limit, or announce less",
    (6, 2): "the peer was shut down by its operator: ask there; it is tried again by itself",
    (6, 3): "the peer has no configuration for us any more: ask its operator",
    (6, 4): "the peer was reset by its operator; it is tried again by itself",
    (6, 5): "the peer refuses us: is our address configured there as its neighbour?",
    (
        6,
        7,
    ): "two connections met and one was dropped; if it stays so, let one end be passive (`passive: true`)",
    (6, 9): "the peer ended the session for good: ask its operator",
}
_WORDS: Final = (
    ("password", "provide the key: the file, Secret or annotation that it is said to be in"),
    ("connection refused", "nothing listens there: is BGP running at the peer, and does it know our address?"),
    ("no route to host", "the peer does not answer ARP or neighbour discovery, or a firewall rejects us: ping it"),
    ("host is unreachable", "a router on the way has no route to the peer: trace it"),
    ("network is unreachable", "this node has no route to the peer: add one, or correct its address"),
    ("cannot assign requested address", "our end is no address of this node: correct `localAddress` or `interface`"),
    ("cannot bind to interface", "the session waits for its `interface`: does it exist, and under this name?"),
    ("address already in use", "another connection has our source port or address: change `localPort`"),
    ("cannot listen", "another program holds our BGP port: stop it, or change `bgp.port`"),
    ("sends no OPEN", "something accepts connections there but speaks no BGP to us: is our address configured "
     "there as its neighbour?"),
    ("sends no KEEPALIVE", "the peer does not accept our OPEN and does not say why: look at its log"),
    ("closed by the peer", "the peer closed without a word: is our address configured there, and the port right?"),
    ("connection reset", "the peer closed without a word: is our address configured there, and the port right?"),
    ("speaker", "the process that holds the sessions is started again by itself; see `kroute show problems`"),
    ("its configuration changed", "the session starts again by itself"),
)  # fmt: skip
_NO_ANSWER: Final = ("connection timed out", "no answer")


def hint(state: PeerState) -> str:
    """What an operator can do now; empty where all is as wanted."""
    peer = state.peer
    if peer.shutdown:
        return "remove `shutdown` from its configuration to open the session"
    if state.down_until is not None:
        return "let the peer announce less, or raise `maxPrefixes`: a changed limit opens the session at once"
    if state.established:
        return _of_established(state)
    said = state.attempt or (state.last_down.reason if state.last_down else "")
    return _of_words(said, peer) if said else _of_silence(peer)


def _of_words(said: str, peer: Peer) -> str:
    if found := _NOTICE.search(said):
        notice = int(found[2]), int(found[3])
        told = (_SENT if found[1] == "sent" else _RECEIVED).get(notice)
        return told or "look at the peer's log for the same moment"
    if any(words in said for words in _NO_ANSWER):
        return _of_no_answer(peer)
    return next((told for words, told in _WORDS if words in said), "")


def _of_no_answer(peer: Peer) -> str:
    """TCP MD5 fails without a word, so silence may be a wrong key."""
    key = (
        "the TCP MD5 keys differ (`nstat -az TcpExtTCPMD5Failure` counts what is dropped)"
        if peer.password_file or peer.password_secret or peer.password_annotation
        else "it expects a TCP MD5 key and we have none"
    )
    far = "" if peer.multihop or peer.internal else ", it is more than one hop away (`multihop`)"
    return f"the peer is down, a firewall drops TCP port {peer.port}{far}, or {key}"


def _of_silence(peer: Peer) -> str:
    if peer.initiate.value == "passive":
        return "we wait for the peer to connect (`passive`): is our address configured there as its neighbour?"
    return ""


def _of_established(state: PeerState) -> str:
    if state.adj_in.over:
        return "prefixes over its limit are ignored: let the peer announce less, or raise `maxPrefixes`"
    negotiated = state.negotiated
    missing = [f.label for f in state.peer.families if negotiated and f not in negotiated.families]
    if missing:
        return (
            f"the peer does not carry {' and '.join(missing)}: enable it there, or set `families`"
        )
    if state.backlog:
        return "the peer reads slowly: what it is told waits"
    return declined_hint(state)
