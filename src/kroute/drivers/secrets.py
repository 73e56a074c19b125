"""TCP MD5 keys (RFC 2385) from files. The only place that reads one; nothing ever prints one."""

from __future__ import annotations

from pathlib import Path

from kroute.model.errors import DriverError

LONGEST = 80
"""Length of a key at most (TCP_MD5SIG_MAXKEYLEN, linux/tcp.h)."""


def read_password(path: str) -> str:
    """The key in a file, without the newline at its end; empty where no file is named.

    Raises:
        DriverError: the file cannot be read, is empty, or holds what cannot be a TCP MD5 key of ours.
    """
    if not path:
        return ""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DriverError(f"password file {path} cannot be read: {error}") from error
    return usable_key(text, f"password file {path}")


def usable_key(text: str, where: str) -> str:
    """A text as a TCP MD5 key, without the newline at its end, which editors and `echo` put there.

    Raises:
        DriverError: it cannot be one of ours; ``where`` it is from, not what it says, is in the words.
    """
    return exact_key(text.rstrip("\r\n"), where)


def exact_key(key: str, where: str) -> str:
    """A text as a TCP MD5 key, to the last character.

    Raises:
        DriverError: as :func:`usable_key` has it.
    """
    if not key or len(key.encode()) > LONGEST:
        raise DriverError(f"{where} must hold 1 to {LONGEST} octets, it holds {len(key.encode())}")
    if not key.isascii():
        raise DriverError(f"{where} holds characters that are not ASCII")
    return key
