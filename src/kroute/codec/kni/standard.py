"""gRPC's own services as far as a server owes them: health (grpc.health.v1) and reflection (v1 and v1alpha)."""

from __future__ import annotations

from base64 import b85decode
from collections.abc import Iterator
from functools import cache

from kroute.codec.kni.descriptors import DESCRIPTORS
from kroute.codec.kni.methods import SERVICE
from kroute.codec.kni.wire import put_bytes, put_varint, walk

HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
"""HealthCheckResponse.ServingStatus; SERVICE_UNKNOWN is for Watch only."""
_FILES = ("kni.proto", "grpc-health.proto", "grpc-reflection.proto")
"""Where the services are described that are listed."""
_NOT_FOUND = 5
_BY_NAME, _BY_SYMBOL, _LIST = 3, 4, 7


def health_service(request: bytes) -> str:
    """The service that a HealthCheckRequest asks for; empty is the whole server.

    Raises:
        MalformedMessage: it is none.
    """
    return next(
        (raw.decode("utf-8", "replace") for n, k, raw in walk(request) if (n, k) == (1, 2)), ""
    )


def health_reply(status: int) -> bytes:
    """HealthCheckResponse with a ServingStatus."""
    return bytes((0x08, status))


def reflect(request: bytes) -> bytes:
    """ServerReflectionResponse to a ServerReflectionRequest.

    Raises:
        MalformedMessage: it is none.
    """
    out = bytearray()
    put_bytes(out, 2, request)
    for number, kind, raw in walk(request):
        if kind == 2 and number in (_BY_NAME, _BY_SYMBOL, _LIST):
            _answer(out, number, raw.decode("utf-8", "replace"))
            return bytes(out)
    _error(out, 12, "not supported")
    return bytes(out)


def _answer(out: bytearray, question: int, text: str) -> None:
    if question == _LIST:
        services = bytearray()
        for name in (SERVICE, HEALTH, REFLECTION[0]):
            entry = bytearray()
            put_bytes(entry, 1, name.encode())
            put_bytes(services, 1, bytes(entry))
        put_bytes(out, 6, bytes(services))
        return
    by_symbol = question == _BY_SYMBOL
    known = [f for f in _FILES if (text in _symbols(f) if by_symbol else text == f)]
    if not known:
        _error(out, _NOT_FOUND, f"{text!r} is not known here")
        return
    found = bytearray()
    put_bytes(found, 1, b85decode(DESCRIPTORS[known[0]]))
    put_bytes(out, 4, bytes(found))


_INSIDE = {
    "file": {4: "message", 5: "enum", 6: "service"},
    "message": {3: "message", 4: "enum"},
    "service": {2: "method"},
}
"""Which fields of descriptor.proto's messages hold what has a name of its own."""


@cache
def _symbols(file: str) -> frozenset[str]:
    """Full names of the services, methods, messages and enums of a file."""
    data = b85decode(DESCRIPTORS[file])
    return frozenset(_names(data, _text(data, 2), "file"))


def _names(data: bytes, outer: str, kind: str) -> Iterator[str]:
    for number, wire, part in walk(data):
        inside = _INSIDE.get(kind, {}).get(number)
        if inside and wire == 2:
            name = f"{outer}.{_text(part, 1)}"
            yield name
            yield from _names(part, name, inside)


def _text(data: bytes, field: int) -> str:
    return next((raw.decode() for n, w, raw in walk(data) if (n, w) == (field, 2)), "")


def _error(out: bytearray, code: int, text: str) -> None:
    error = bytearray()
    put_varint(error, 1 << 3)
    put_varint(error, code)
    put_bytes(error, 2, text.encode())
    put_bytes(out, 7, bytes(error))
