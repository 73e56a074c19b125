"""One health check: over HTTP, over TCP, or by a program. Each ends when it is cancelled, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import ssl
import subprocess
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from kroute.model.config_services import Check, ExecCheck, HttpCheck, TcpCheck

MOST_READ = 1 << 16
"""Octets of an answer that are looked at."""
MOST_OUTPUT = 4096
"""Octets of a program's output that are looked at."""


class CheckFailed(Exception):
    """The check is not good; says why."""


async def perform(check: Check) -> str:
    """Do a check; its result in words.

    Raises:
        CheckFailed: it is not good.
    """
    if check.http is not None:
        return await _http(check.http)
    if check.tcp is not None:
        return await _tcp(check.tcp)
    assert check.exec is not None, "a check is one of three"
    return await _exec(check.exec)


async def _tcp(check: TcpCheck) -> str:
    where = f"{check.address} port {check.port}"
    _, writer = await _connect(check.address, check.port, where)
    await _close(writer)
    return f"{where} answers"


async def _http(check: HttpCheck) -> str:
    url = urlsplit(check.url)
    tls = _trusting() if url.scheme == "https" else None
    reader, writer = await _connect(
        str(url.hostname), url.port or (443 if tls else 80), check.url, tls
    )
    try:
        # 1.0: the answer ends with the connection, and comes in one piece.
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        writer.write(
            f"GET {target} HTTP/1.0\r\nHost: {url.netloc.rpartition('@')[2]}\r\n"
            "User-Agent: kroute\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        head, _, body = (await _read(reader)).partition(b"\r\n\r\n")
    except OSError as error:
        raise CheckFailed(f"{check.url}: {_words(error)}") from error
    finally:
        await _close(writer)
    return judged(check, head, body)


def judged(check: HttpCheck, head: bytes, body: bytes) -> str:
    """What an answer's head and body say, in words.

    Raises:
        CheckFailed: they are not what the check wants.
    """
    version, _, rest = head.split(b"\r\n")[0].partition(b" ")
    code = rest[:3].decode("ascii", "replace")
    if not version.startswith(b"HTTP/") or not code.isdecimal():
        raise CheckFailed(f"{check.url} answers, but not in HTTP")
    good = int(code) in check.status if check.status else 200 <= int(code) < 400
    if not good:
        raise CheckFailed(f"{check.url} answers {code}")
    if check.contains.encode() not in body:
        raise CheckFailed(f"{check.url} answers {code} without the text {check.contains!r}")
    return f"{check.url} answers {code}"


async def _read(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while len(found) < MOST_READ and (more := await reader.read(MOST_READ)):
        found += more
    return found[:MOST_READ]


async def _connect(
    host: str, port: int, where: str, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(host, port, ssl=tls)
    except (OSError, ValueError) as error:
        raise CheckFailed(f"{where}: {_words(error)}") from error


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()  # at once: who checks every few seconds must not collect closing connections
    with suppress(OSError):
        await writer.wait_closed()


@cache
def _trusting() -> ssl.SSLContext:
    """TLS without verification, as kubelets probe: what is asked is whether it lives, not who it is.

    Not the default context, which reads all authorities of the host first: tens of milliseconds for nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _words(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(strerror or error)


# --- programs --------------------------------------------------------------------------------------------


async def _exec(check: ExecCheck) -> str:
    program = check.command[0]
    output = os.memfd_create("kroute-check", os.MFD_CLOEXEC)
    try:
        process = await _started(check, output)
        status = await _outlived(process)
        said = os.pread(output, MOST_OUTPUT, 0).decode("utf-8", "replace").strip()
    finally:
        os.close(output)
    first = said.splitlines()[0] if said else ""
    if status:
        how = f"exit code {status}" if status > 0 else f"ended by {signal.Signals(-status).name}"
        raise CheckFailed(f"{program}: {how}" + (f", {first}" if first else ""))
    return f"{program} is content" + (f": {first}" if first else "")


def _identity(user: str) -> dict[str, Any]:
    """The arguments that make a program somebody else's; whoever is not root can run it as himself only.

    Raises:
        CheckFailed: there is no such user, or we cannot become it.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise CheckFailed(f"there is no user {user}") from error
    if os.geteuid() == 0:
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    if entry.pw_uid != os.geteuid():
        raise CheckFailed(f"only root can run a check as {user}")
    return {}


async def _started(check: ExecCheck, output: int) -> subprocess.Popen[bytes]:
    """Its process. To look up its user, to fork and to wait for the program's file is done in a thread; where we are
    cancelled meanwhile, the process ends with us as soon as there is one.

    Raises:
        CheckFailed: there is none.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            check.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            start_new_session=True,
            **_identity(check.user),
        )

    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError, ValueError, CheckFailed):
            await _ended(await starting)
        raise
    except (OSError, ValueError) as error:
        raise CheckFailed(f"{check.command[0]} cannot be run: {_words(error)}") from error


async def _outlived(process: subprocess.Popen[bytes]) -> int:
    """Its exit code; where we are cancelled before it ends, it and all it has started end with us."""
    try:
        return await _exit_code(process)
    except asyncio.CancelledError:
        await asyncio.shield(_ended(process))
        raise


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """It and all it has started are killed, and it is reaped."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await _exit_code(process)


async def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Wait for its end without a thread (pidfd_open(2), Linux 5.3)."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    try:
        watched = os.pidfd_open(process.pid)
    except OSError:  # a sandbox that does not know the call
        return await asyncio.to_thread(process.wait)
    try:
        loop.add_reader(watched, over.set)
        await over.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    return process.wait()
