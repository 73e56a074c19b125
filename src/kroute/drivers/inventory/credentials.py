"""How to reach a Kubernetes API server: a kubeconfig file, or the service account of the pod we run in.

Read directly rather than through the official client, whose import alone costs 57 MiB on every node (docs/adr/0003).
Credentials that are files are read again for each connection: tokens of service accounts expire and are replaced.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kroute.codec.yaml12 import load
from kroute.model.errors import Complaint, InputError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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
        """The token as it is now; empty where none is used."""
        if self.token_file:
            try:
                return Path(self.token_file).read_text().strip()
            except OSError:
                return self.token
        return self.token

    def tls(self) -> ssl.SSLContext | None:
        """A TLS context; None for a server without TLS."""
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
        """OpenSSL takes a key from a file only: a private one, gone as soon as it is read."""
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.client_certificate + "\n" + self.client_key)
            file.flush()
            context.load_cert_chain(file.name)


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
    raise InputError(
        "inventory.kubernetes",
        [
            Complaint(
                "kubeconfig",
                "names no file, we run in no pod with a service account, and KUBECONFIG is not set",
            )
        ],
    )


def _service_account(host: str, port: str) -> Access:
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca=(SERVICE_ACCOUNT / "ca.crt").read_text(),
        token_file=str(SERVICE_ACCOUNT / "token"),
    )


def read_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig file.

    Raises:
        InputError: it cannot be read, is incomplete, or asks for a login that only a person or a program can do.
    """
    try:
        document = load(path.read_text(encoding="utf-8"), str(path)).value
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), [Complaint("", f"cannot be read: {error}")]) from error
    reader = _Kubeconfig(path, document if isinstance(document, dict) else {})
    access = reader.access()
    if reader.complaints:
        raise InputError(str(path), reader.complaints)
    return access


class _Kubeconfig:
    """Takes one kubeconfig apart, collecting complaints."""

    def __init__(self, path: Path, document: dict[Any, Any]) -> None:
        self.complaints: list[Complaint] = []
        self._folder = path.parent
        self._document = document

    def access(self) -> Access:
        context = self._named(
            "contexts", str(self._document.get("current-context") or ""), "context"
        )
        cluster = self._named("clusters", str(context.get("cluster") or ""), "cluster")
        user = self._named("users", str(context.get("user") or ""), "user")
        for way in ("exec", "auth-provider", "username"):
            if way in user:
                reason = f"logs in by {way}, which a daemon cannot; give it a token, tokenFile or client certificate"
                self.complaints.append(Complaint("users", reason))
        server = str(cluster.get("server") or "")
        if not server:
            self.complaints.append(
                Complaint("clusters", "the current context's cluster has no server")
            )
        token_file = str(user.get("tokenFile") or "")
        return Access(
            server=server,
            ca=self._pem(cluster, "certificate-authority"),
            verify=cluster.get("insecure-skip-tls-verify") is not True,
            server_name=str(cluster.get("tls-server-name") or ""),
            token=str(user.get("token") or ""),
            token_file=str(self._folder / token_file) if token_file else "",
            client_certificate=self._pem(user, "client-certificate"),
            client_key=self._pem(user, "client-key"),
        )

    def _named(self, plural: str, name: str, key: str) -> dict[Any, Any]:
        for entry in self._document.get(plural) or ():
            if (
                isinstance(entry, dict)
                and entry.get("name") == name
                and isinstance(entry.get(key), dict)
            ):
                return dict(entry[key])
        self.complaints.append(Complaint(plural, f"has no entry named {name!r}"))
        return {}

    def _pem(self, entry: dict[Any, Any], key: str) -> str:
        """A certificate or key: base64 in the file itself, or the name of another file."""
        try:
            if data := entry.get(f"{key}-data"):
                return base64.b64decode(str(data), validate=True).decode("ascii")
            if name := entry.get(key):
                return (self._folder / str(name)).read_text()
        except (OSError, ValueError) as error:
            self.complaints.append(Complaint(key, f"cannot be read: {error}"))
        return ""
