"""Protocol Buffers as far as KNI uses them: proto3 strings, booleans, int32, enums, messages, maps of strings.

One table for each message says which field of which dataclass has which number, so a generation that numbers its
fields otherwise is another table for the same class. Unknown fields are skipped, repeated occurrences of a single
message are merged, text must be UTF-8: what the protobuf specification asks of a proto3 parser. Whatever the bytes
are, :func:`decode` returns a value or raises :class:`MalformedMessage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kroute.model.errors import KrouteError

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_DEEPEST_GROUP = 32


class MalformedMessage(KrouteError):
    """Bytes that are no message of the type expected."""


class Kind(Enum):
    """What a field holds."""

    TEXT = "string"
    BOOL = "bool"
    INT32 = "int32"
    MESSAGE = "message"
    TEXTS = "repeated string"
    MESSAGES = "repeated message"
    WORDS = "map<string, string>"
    NAMED = "map<string, message>"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its number, its name in the class and in the .proto file, its kind; enums are INT32."""

    number: int
    name: str
    kind: Kind = Kind.TEXT
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message type: its name in the .proto file, the class of its values and its fields."""

    name: str
    make: type
    fields: tuple[Field, ...] = ()


def encode(message: Message, value: Any) -> bytes:
    """The bytes of a value, fields in order of their numbers; proto3 leaves out what is default.

    Raises:
        ValueError: a text holds lone surrogates, or a number does not fit.
    """
    out = bytearray()
    for field in message.fields:
        _put(out, field, getattr(value, field.name))
    return bytes(out)


def decode(message: Message, data: bytes) -> Any:
    """The value of ``message.make`` that these bytes mean.

    Raises:
        MalformedMessage: they mean none.
    """
    known = {f.number: f for f in message.fields}
    found: dict[str, Any] = {}
    pending: dict[Field, bytes] = {}
    for number, kind, raw in walk(data):
        field = known.get(number)
        if field is None or kind != (_VARINT if field.kind in _NUMBERS else _BYTES):
            continue  # unknown, or of another type: skipped as unknown
        _take(found, pending, field, raw)
    for field, parts in pending.items():
        found[field.name] = decode(_inner(field), parts)
    return message.make(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})


def walk(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """The top-level fields: number, wire type, and the value (an int, or octets). Groups are skipped.

    Raises:
        MalformedMessage: a length points outside, a number is too long, a wire type does not exist.
    """
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise MalformedMessage(f"protobuf: field number {number}")
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, kind, value
        elif kind == _BYTES:
            length, position = _varint(data, position)
            position = _within(position + length, end)
            yield number, kind, data[position - length : position]
        else:
            position = _skip(data, position, number, kind, 0)


_NUMBERS = (Kind.BOOL, Kind.INT32)


def _put(out: bytearray, field: Field, value: Any) -> None:
    if value is None or value == "" or value is False:
        return
    number, kind = field.number, field.kind
    if kind in _NUMBERS:
        if value:
            put_varint(out, number << 3 | _VARINT)
            put_varint(out, _wide(value))
    elif kind is Kind.TEXT:
        put_bytes(out, number, value.encode())
    elif kind is Kind.MESSAGE:
        put_bytes(out, number, encode(_inner(field), value))
    elif kind is Kind.TEXTS:
        for text in value:
            put_bytes(out, number, text.encode())
    elif kind is Kind.MESSAGES:
        for item in value:
            put_bytes(out, number, encode(_inner(field), item))
    else:
        _put_map(out, field, value)


def _wide(value: int) -> int:
    if not -(1 << 31) <= value < 1 << 31:
        raise ValueError(f"{value} is no int32")
    return value & (1 << 64) - 1


def _put_map(out: bytearray, field: Field, value: Mapping[str, Any]) -> None:
    """Entries by key: equal maps give equal bytes. An entry always holds both, as other encoders have it."""
    for key in sorted(value):
        entry = bytearray()
        put_bytes(entry, 1, key.encode())
        item = value[key]
        inner = item.encode() if field.kind is Kind.WORDS else encode(_inner(field), item)
        put_bytes(entry, 2, inner)
        put_bytes(out, field.number, bytes(entry))


def put_bytes(out: bytearray, number: int, data: bytes) -> None:
    """Append a field of text, octets or an encoded message."""
    put_varint(out, number << 3 | _BYTES)
    put_varint(out, len(data))
    out += data


def put_varint(out: bytearray, value: int) -> None:
    """Append a bare number, 0 to 2^64 - 1."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _take(found: dict[str, Any], pending: dict[Field, bytes], field: Field, raw: Any) -> None:
    match field.kind:
        case Kind.TEXT:
            found[field.name] = _text(raw)
        case Kind.BOOL:
            found[field.name] = raw != 0
        case Kind.INT32:
            low = raw & 0xFFFFFFFF
            found[field.name] = low - (1 << 32) if low >> 31 else low
        case Kind.MESSAGE:
            # Concatenated encodings are the encoding of the merged message.
            pending[field] = pending.get(field, b"") + raw
        case Kind.TEXTS:
            found.setdefault(field.name, []).append(_text(raw))
        case Kind.MESSAGES:
            found.setdefault(field.name, []).append(decode(_inner(field), raw))
        case Kind.WORDS | Kind.NAMED:
            key, value = _entry(field, raw)
            found.setdefault(field.name, {})[key] = value


def _entry(field: Field, raw: bytes) -> tuple[str, Any]:
    key, value = "", b""
    for number, kind, part in walk(raw):
        if kind == _BYTES and number == 1:
            key = _text(part)
        elif kind == _BYTES and number == 2:
            value = part if field.kind is Kind.WORDS else value + part
    return key, _text(value) if field.kind is Kind.WORDS else decode(_inner(field), value)


def _inner(field: Field) -> Message:
    assert field.message is not None, field.name
    return field.message


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("protobuf: a text is not UTF-8") from error


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise MalformedMessage("protobuf: a number is cut short or too long")
        octet = data[position]
        position += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value & (1 << 64) - 1, position
        shift += 7


def _within(position: int, end: int) -> int:
    if position > end:
        raise MalformedMessage("protobuf: a field is cut short")
    return position


def _skip(data: bytes, position: int, number: int, kind: int, depth: int) -> int:
    """Behind a field of a type that KNI does not use."""
    if kind == _FIXED64:
        return _within(position + 8, len(data))
    if kind == _FIXED32:
        return _within(position + 4, len(data))
    if kind != _GROUP or depth > _DEEPEST_GROUP:
        raise MalformedMessage(f"protobuf: wire type {kind}")
    while True:
        key, position = _varint(data, position)
        if key & 7 == _END_GROUP:
            if key >> 3 != number:
                raise MalformedMessage("protobuf: a group ends that did not begin")
            return position
        if key & 7 == _VARINT:
            _, position = _varint(data, position)
        elif key & 7 == _BYTES:
            length, position = _varint(data, position)
            position = _within(position + length, len(data))
        else:
            position = _skip(data, position, key >> 3, key & 7, depth + 1)
