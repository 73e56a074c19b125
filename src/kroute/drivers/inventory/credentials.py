"""How to reach a Kubernetes API server: a kubeconfig file, or the service account of the pod we run in.

Read directly rather than through the official client, whose import alone costs 44 MiB on every node (docs/adr/0003).
All of it is read again after each failure and for each new watch's token: tokens, certificates and authorities expire
and are replaced under the same names.
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kroute.codec.yaml12 import load
from kroute.model.errors import Complaint, InputError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REFUSED_LOGINS: Final = ("exec", "auth-provider", "username", "password")
"""Keys of a kubeconfig's user that ask a program or a person for credentials."""
UNSUPPORTED: Final = ("proxy-url",)
"""Keys of a kubeconfig's cluster that are not understood and may not be overlooked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A server and what it takes to talk to it. ``ca`` and ``client_*`` are PEM texts, empty where there is none."""

    server: str
    ca: str = ""
    verify: bool = True
    server_name: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)

    def bearer(self) -> str:
        """The token as it is now; empty where none is used.

        Raises:
            OSError: its file cannot be read.
            ValueError: it is no text that a header can carry; does not quote it.
        """
        token = Path(self.token_file).read_text().strip() if self.token_file else self.token
        if not (token.isascii() and token.isprintable()):
            raise ValueError("the token holds characters that no header can carry")
        return token

    def tls(self) -> ssl.SSLContext | None:
        """A TLS context; None for a server without TLS.

        Raises:
            OSError: a certificate or key is none, or they do not belong together (ssl.SSLError).
        """
        if not self.server.startswith("https:"):
            return None
        context = ssl.create_default_context(cadata=self.ca or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate:
            self._load_client(context)
        return context

    def _load_client(self, context: ssl.SSLContext) -> None:
        """OpenSSL takes a key from a file only: one in memory, since the root may be read-only and disks remember."""
        descriptor = os.memfd_create("kroute-client-key", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, f"{self.client_certificate}\n{self.client_key}\n".encode())
            # Without a password argument OpenSSL would ask for one on the terminal.
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
        finally:
            os.close(descriptor)


def find_access(kubeconfig: str) -> Access:
    """The configured kubeconfig; else the pod's service account; else $KUBECONFIG.

    Raises:
        InputError: there is none, or it cannot be used; every complaint.
    """
    if kubeconfig:
        return read_kubeconfig(Path(kubeconfig))
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if host and (SERVICE_ACCOUNT / "token").exists():
        return _service_account(host, os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    if path := os.environ.get("KUBECONFIG", ""):
        return read_kubeconfig(Path(path))
    text = "names no file, we run in no pod with a service account, and KUBECONFIG is not set"
    raise InputError("inventory.kubernetes", [Complaint("kubeconfig", text)])


def _service_account(host: str, port: str) -> Access:
    authority = SERVICE_ACCOUNT / "ca.crt"
    try:
        ca = authority.read_text()
    except (OSError, ValueError) as error:
        raise InputError(str(authority), [Complaint("", f"cannot be read: {error}")]) from error
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca=ca,
        token_file=str(SERVICE_ACCOUNT / "token"),
    )


def read_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig file; files that it names are relative to its folder.

    Raises:
        InputError: it cannot be read, is incomplete, or asks for a login that only a person or a program can do.
    """
    try:
        document = load(path.read_text(encoding="utf-8"), str(path)).value
    except (OSError, ValueError) as error:
        raise InputError(str(path), [Complaint("", f"cannot be read: {error}")]) from error
    reader = _Kubeconfig(path, document if isinstance(document, dict) else {})
    access = reader.access()
    if reader.complaints:
        raise InputError(str(path), reader.complaints)
    return access


class _Kubeconfig:
    """Takes one kubeconfig apart, collecting complaints; odd shapes are complaints, never exceptions."""

    def __init__(self, path: Path, document: dict[Any, Any]) -> None:
        self.complaints: list[Complaint] = []
        self._folder = path.parent
        self._document = document

    def access(self) -> Access:
        context = self._named("context", _text(self._document, "current-context"))
        cluster = self._named("cluster", _text(context, "cluster"))
        user = self._named("user", _text(context, "user"))
        self._refuse(user, cluster)
        server = _text(cluster, "server")
        if cluster and not server.startswith(("https://", "http://")):
            self._complain("clusters", f"server is no http(s) address: {server!r}")
        token_file = _text(user, "tokenFile")
        return Access(
            server=server,
            ca=self._pem(cluster, "certificate-authority"),
            verify=cluster.get("insecure-skip-tls-verify") is not True,
            server_name=_text(cluster, "tls-server-name"),
            token=_text(user, "token"),
            token_file=str(self._folder / token_file) if token_file else "",
            client_certificate=self._pem(user, "client-certificate"),
            client_key=self._pem(user, "client-key"),
        )

    def _refuse(self, user: dict[Any, Any], cluster: dict[Any, Any]) -> None:
        for way in REFUSED_LOGINS:
            if user.get(way):
                text = f"logs in by {way}, which a daemon cannot; give it a token, tokenFile or client certificate"
                self._complain("users", text)
        for key in UNSUPPORTED:
            if cluster.get(key):
                self._complain("clusters", f"asks for {key}, which is not supported")

    def _complain(self, path: str, reason: str) -> None:
        self.complaints.append(Complaint(path, reason))

    def _named(self, kind: str, name: str) -> dict[Any, Any]:
        """The context, cluster or user of a name. A context without a user is one without credentials."""
        if kind == "user" and not name:
            return {}
        entries = self._document.get(f"{kind}s")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name:
                found = entry.get(kind)
                return found if isinstance(found, dict) else {}
        if name or kind == "context":
            self._complain(f"{kind}s", f"has no entry named {name!r}")
        return {}

    def _pem(self, entry: dict[Any, Any], key: str) -> str:
        """A certificate or key: base64 in the file itself, or the name of another file."""
        try:
            if data := _text(entry, f"{key}-data"):
                return base64.b64decode("".join(data.split()), validate=True).decode("ascii")
            if name := _text(entry, key):
                return (self._folder / name).read_text()
        except (OSError, ValueError) as error:
            self._complain(key, f"cannot be read: {error}")
        return ""


def _text(entry: dict[Any, Any], key: str) -> str:
    """A text under a key; empty where there is none. Numbers are texts here: a token may be all digits."""
    value = entry.get(key)
    return "" if value is None or isinstance(value, dict | list | bool) else str(value)
