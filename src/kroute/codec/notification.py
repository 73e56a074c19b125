"""NOTIFICATION messages as bytes and as words (RFC 4271 §4.5, RFC 4486, RFC 8538, RFC 9003). Standard library only."""

from __future__ import annotations

from typing import Final


def notification(code: int, subcode: int, text: str = "", data: bytes = b"") -> bytes:
    """Code, subcode and data of a NOTIFICATION, as REMOVE, RESET and STOP carry it.

    For Cease 6/2 and 6/4 the text becomes a Shutdown Communication (RFC 9003): UTF-8, cut at a character
    so that at most 255 octets remain. Elsewhere the text has no place in the message, and ``data`` follows.
    """
    if code != 6 or subcode not in (2, 4) or not text:
        return bytes((code, subcode)) + data
    encoded = text.encode(errors="replace")[:255].decode(errors="ignore").encode()
    return bytes((code, subcode, len(encoded))) + encoded


_CODES: Final = {
    1: "message header error",
    2: "OPEN message error",
    3: "UPDATE message error",
    4: "hold timer expired",
    5: "finite state machine error",
    6: "cease",
    7: "ROUTE-REFRESH message error",
    8: "send hold timer expired",
}
_SUBCODES: Final = {
    (1, 1): "connection not synchronized",
    (1, 2): "bad message length",
    (1, 3): "bad message type",
    (2, 1): "unsupported version number",
    (2, 2): "bad peer AS",
    (2, 3): "bad BGP identifier",
    (2, 4): "unsupported optional parameter",
    (2, 6): "unacceptable hold time",
    (2, 7): "unsupported capability",
    (2, 11): "role mismatch",
    (3, 1): "malformed attribute list",
    (3, 2): "unrecognized well-known attribute",
    (3, 3): "missing well-known attribute",
    (3, 4): "attribute flags error",
    (3, 5): "attribute length error",
    (3, 6): "invalid ORIGIN",
    (3, 8): "invalid NEXT_HOP",
    (3, 9): "optional attribute error",
    (3, 10): "invalid network field",
    (3, 11): "malformed AS_PATH",
    (5, 1): "unexpected message in OpenSent",
    (5, 2): "unexpected message in OpenConfirm",
    (5, 3): "unexpected message in Established",
    (6, 1): "maximum number of prefixes reached",
    (6, 2): "administrative shutdown",
    (6, 3): "peer de-configured",
    (6, 4): "administrative reset",
    (6, 5): "connection rejected",
    (6, 6): "other configuration change",
    (6, 7): "connection collision resolution",
    (6, 8): "out of resources",
    (6, 9): "hard reset",
    (6, 10): "BFD down",
}


def describe_notification(code: int, subcode: int, data: bytes = b"") -> str:
    """A NOTIFICATION in words: ``6/2 cease, administrative shutdown "maintenance"`` (RFC 4271 §4.5, RFC 9003)."""
    words = f"{code}/{subcode} {_CODES.get(code, 'unknown error')}"
    if (code, subcode) == (6, 9) and len(data) >= 2:
        return f"{words}, hard reset ({describe_notification(data[0], data[1], data[2:])})"
    if detail := _SUBCODES.get((code, subcode)):
        words += f", {detail}"
    if code == 6 and subcode in (2, 4) and data and 0 < data[0] <= len(data) - 1:
        text = data[1 : 1 + data[0]].decode(errors="replace")
        words += ' "' + "".join(c if c.isprintable() else " " for c in text) + '"'
    return words
