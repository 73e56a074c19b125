"""Kubeconfig files and service accounts: what is read, what is refused and in which words, and that nothing leaks."""

from __future__ import annotations

import base64
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import InsecureRequestWarning

from kroute.drivers.inventory import credentials
from kroute.drivers.inventory.api import Api, ApiError
from kroute.drivers.inventory.credentials import find_access, read_kubeconfig
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.model.config import KubernetesInventory
from kroute.model.errors import InputError
from support.fakekube import FakeKube
from support.inventory import PROMPT, following, kubeconfig, node_object


@dataclass(frozen=True)
class Authority:
    """A folder with ca.crt, and server and client certificates with their keys."""

    folder: Path

    def make(self) -> None:
        self._openssl(
            *[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ],
            *["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority"],
        )
        for name in ("server", "client"):
            self._openssl(
                *["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
                *f"-keyout {name}.key -out {name}.csr -subj /CN={name}".split(),
            )
            (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:kubernetes\n")
            self._openssl(
                *f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial".split(),
                *f"-days 2 -out {name}.crt -extfile san".split(),
            )

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def data(self, name: str) -> str:
        return base64.b64encode((self.folder / name).read_bytes()).decode()

    def server(self, *, ask_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.crt"), self.path("server.key"))
        if ask_client:
            context.load_verify_locations(self.path("ca.crt"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.make()
    return made


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def nodes_seen(path: str) -> list[str]:
    """Names of the nodes that a kubeconfig leads to."""
    answer = Api(lambda: read_kubeconfig(Path(path)), PROMPT).get("/api/v1/nodes", {})
    return [item["metadata"]["name"] for item in answer["items"]]


def complaints(path: str) -> str:
    with pytest.raises(InputError) as caught:
        read_kubeconfig(Path(path))
    return str(caught.value)


@pytest.mark.parametrize("inline", [True, False])
def test_a_client_certificate_and_the_clusters_authority_are_used(
    authority: Authority, tmp_path: Path, inline: bool
):
    given, suffix = (authority.data, "-data") if inline else (authority.path, "")
    user = {
        f"client-certificate{suffix}": given("client.crt"),
        f"client-key{suffix}": given("client.key"),
    }
    with FakeKube(tls=authority.server(ask_client=True)) as kube:
        kube.put(node_object(1))
        path = kubeconfig(
            tmp_path / "kc", kube.url, user, **{f"certificate-authority{suffix}": given("ca.crt")}
        )
        assert nodes_seen(path) == ["n1"]
        anonymous = kubeconfig(
            tmp_path / "kc", kube.url, **{f"certificate-authority{suffix}": given("ca.crt")}
        )
        with pytest.raises(ApiError, match="does not answer"):
            nodes_seen(anonymous)


def test_a_server_of_an_unknown_authority_is_not_talked_to(authority: Authority, tmp_path: Path):
    with FakeKube(tls=authority.server()) as kube:
        with pytest.raises(ApiError, match="certificate verify failed"):
            nodes_seen(kubeconfig(tmp_path / "kc", kube.url, {"token": "secret"}))
        assert not kube.requests


def test_a_server_may_be_known_by_another_name(authority: Authority, tmp_path: Path):
    ca = {"certificate-authority": authority.path("ca.crt")}
    with FakeKube(tls=authority.server()) as kube:
        good = kubeconfig(tmp_path / "kc", kube.url, **ca, **{"tls-server-name": "kubernetes"})
        assert nodes_seen(good) == []
        bad = kubeconfig(tmp_path / "kc", kube.url, **ca, **{"tls-server-name": "elsewhere"})
        with pytest.raises(ApiError, match="elsewhere"):
            nodes_seen(bad)


def test_verification_is_off_only_where_the_kubeconfig_says_so(
    authority: Authority, tmp_path: Path
):
    with FakeKube(tls=authority.server()) as kube:
        path = kubeconfig(tmp_path / "kc", kube.url, **{"insecure-skip-tls-verify": True})
        with pytest.warns(InsecureRequestWarning):
            assert nodes_seen(path) == []


async def test_a_watch_over_tls_follows_and_ends_at_once(authority: Authority, tmp_path: Path):
    with FakeKube(tls=authority.server(), tokens=["12345"]) as kube:
        kube.put(node_object(1))
        ca = {"certificate-authority": authority.path("ca.crt")}
        path = kubeconfig(tmp_path / "kc", kube.url, {"token": "12345"}, **ca)
        driver = KubernetesInventoryDriver(KubernetesInventory(kubeconfig=path))
        async with following(driver) as told:
            await told.until(lambda t: t.names() == ["n1"])
            kube.put(node_object(2))
            await told.until(lambda t: t.names() == ["n1", "n2"])


async def test_a_replaced_client_certificate_is_used_after_the_next_failure(
    authority: Authority, tmp_path: Path
):
    user = {"client-certificate": "c.crt", "client-key": "c.key"}
    (tmp_path / "c.crt").write_bytes((authority.folder / "client.crt").read_bytes())
    (tmp_path / "c.key").write_text("not yet")
    ca = {"certificate-authority": authority.path("ca.crt")}
    with FakeKube(tls=authority.server(ask_client=True)) as kube:
        path = kubeconfig(tmp_path / "kc", kube.url, user, **ca)
        driver = KubernetesInventoryDriver(KubernetesInventory(kubeconfig=path), PROMPT)
        async with following(driver) as told:
            await told.until(lambda t: t.stale)
            (tmp_path / "c.key").write_bytes((authority.folder / "client.key").read_bytes())
            await told.until(lambda t: t.lists and t.stale is None)


def test_the_service_account_of_the_pod_is_used_inside_a_cluster(
    authority: Authority, tmp_path: Path, outside: pytest.MonkeyPatch
):
    (tmp_path / "token").write_text("account\n")
    (tmp_path / "ca.crt").write_bytes((authority.folder / "ca.crt").read_bytes())
    outside.setattr(credentials, "SERVICE_ACCOUNT", tmp_path)
    with FakeKube(tls=authority.server(), tokens=["account"]) as kube:
        outside.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        outside.setenv("KUBERNETES_SERVICE_PORT", str(kube.port))
        answer = Api(lambda: find_access(""), PROMPT).get("/api/v1/nodes", {})
        assert answer["kind"] == "NodeList"


def test_an_ipv6_service_address_is_put_in_brackets(tmp_path: Path, outside: pytest.MonkeyPatch):
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("x")
    outside.setattr(credentials, "SERVICE_ACCOUNT", tmp_path)
    outside.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert find_access("").server == "https://[fd00::1]:443"


def test_the_environments_kubeconfig_is_the_last_resort(
    tmp_path: Path, outside: pytest.MonkeyPatch
):
    with pytest.raises(InputError, match="KUBECONFIG is not set"):
        find_access("")
    outside.setenv("KUBECONFIG", kubeconfig(tmp_path / "kc", "http://192.0.2.1"))
    assert find_access("").server == "http://192.0.2.1"


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"exec": {"command": "aws"}}, "logs in by exec, which a daemon cannot"),
        ({"auth-provider": {"name": "gcp"}}, "logs in by auth-provider"),
        ({"username": "me", "password": "x"}, "logs in by username"),
        ({"client-certificate-data": "%%%"}, "client-certificate: cannot be read"),
        ({"client-key": "nowhere.pem"}, "client-key: cannot be read"),
    ],
)
def test_what_a_daemon_cannot_use_is_refused_in_words(
    tmp_path: Path, user: dict[str, Any], words: str
):
    assert words in complaints(kubeconfig(tmp_path / "kc", "https://192.0.2.1", user))


def test_every_complaint_about_a_kubeconfig_comes_at_once(tmp_path: Path):
    text = complaints(
        kubeconfig(tmp_path / "kc", "192.0.2.1", {"exec": {"command": "x"}}, **{"proxy-url": "p"})
    )
    assert "no http(s) address" in text
    assert "logs in by exec" in text
    assert "asks for proxy-url" in text


def test_a_missing_entry_is_named(tmp_path: Path):
    (tmp_path / "kc").write_text("current-context: prod\ncontexts: []\n")
    assert "contexts: has no entry named 'prod'" in complaints(str(tmp_path / "kc"))


def test_a_token_of_digits_stays_a_text(tmp_path: Path):
    (tmp_path / "kc").write_text(
        "current-context: a\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
        "clusters: [{name: a, cluster: {server: 'http://192.0.2.1'}}]\n"
        "users: [{name: a, user: {token: 12345}}]\n"
    )
    assert read_kubeconfig(tmp_path / "kc").bearer() == "12345"


def test_secrets_are_not_in_the_representation(tmp_path: Path):
    user = {"token": "TOPSECRET", "client-key-data": base64.b64encode(b"TOPSECRET").decode()}
    access = read_kubeconfig(Path(kubeconfig(tmp_path / "kc", "https://192.0.2.1", user)))
    assert "TOPSECRET" not in repr(access)


def test_a_token_that_no_header_can_carry_is_an_error_of_access(tmp_path: Path):
    with FakeKube() as kube:
        path = kubeconfig(tmp_path / "kc", kube.url, {"token": "two\nlines"})
        with pytest.raises(ApiError) as caught:
            nodes_seen(path)
        assert "two" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(
    contexts=JSON | st.lists(st.fixed_dictionaries({"name": st.just("a"), "context": JSON})),
    clusters=JSON
    | st.lists(
        st.fixed_dictionaries(
            {"name": st.just("a"), "cluster": st.dictionaries(st.just("server"), JSON)}
        )
    ),
    users=JSON,
)
def test_odd_shapes_are_complaints_and_never_exceptions(contexts: Any, clusters: Any, users: Any):
    document = {
        "current-context": "a",
        "contexts": contexts,
        "clusters": clusters,
        "users": users,
    }
    credentials._Kubeconfig(Path("/nonexistent/kc"), document).access()
