"""Keys of peers from Kubernetes Secrets: followed live, kept through faults, missing with a reason, never shown."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from kroute.daemon.keyring import Keyring
from kroute.drivers.inventory.secrets import KubernetesSecrets
from kroute.model.errors import DriverError
from kroute.model.session_keys import SecretKey
from support.fakekube import Failure, FakeKube
from support.inventory import PROMPT, kubeconfig
from support.netns import until

KEY = SecretKey(namespace="kube-system", name="bgp", key="tor")


def secret(namespace: str = "kube-system", name: str = "bgp", **data: str) -> dict[str, Any]:
    """A Secret as Kubernetes has it."""
    packed = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return {"metadata": {"namespace": namespace, "name": name}, "data": packed}


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        yield server


@pytest.fixture
async def secrets(kube: FakeKube, tmp_path: Path) -> AsyncIterator[KubernetesSecrets]:
    path = kubeconfig(tmp_path / "kubeconfig", kube.url)
    found = KubernetesSecrets(path, lambda: None, PROMPT)
    yield found
    found.close()


async def reads(secrets: KubernetesSecrets, expected: str, key: SecretKey = KEY) -> None:
    """Wait until an entry reads so, or until the words of why it does not hold this."""

    def matches() -> bool:
        try:
            return secrets.read(key) == expected
        except DriverError as error:
            return bool(expected) and expected in str(error)

    await until(matches, 10, expected)


async def test_an_entry_is_read_and_followed(kube: FakeKube, secrets: KubernetesSecrets) -> None:
    kube.put(secret(tor="first"), "secrets")
    kube.put(secret("default", tor="another"), "secrets")
    secrets.follow([KEY])
    assert "not been read yet" in complaint(secrets)
    await reads(secrets, "first")
    kube.put(secret(tor="second"), "secrets")
    await reads(secrets, "second")
    kube.put(secret(other="x"), "secrets")
    await reads(secrets, "has no such key")
    kube.store.delete("secrets", "bgp", "kube-system")
    await reads(secrets, "does not exist any more")


def complaint(secrets: KubernetesSecrets) -> str:
    with pytest.raises(DriverError) as caught:
        secrets.read(KEY)
    return str(caught.value)


async def test_a_secret_that_comes_late_is_read_when_it_is_there(
    kube: FakeKube, secrets: KubernetesSecrets
) -> None:
    secrets.follow([KEY])
    await reads(secrets, "does not exist")
    kube.put(secret(tor="late"), "secrets")
    await reads(secrets, "late")


async def test_an_api_server_that_refuses_is_told_of_and_asked_again(
    kube: FakeKube, secrets: KubernetesSecrets
) -> None:
    kube.put(secret(tor="first"), "secrets")
    kube.failure = Failure(403, "Forbidden")
    secrets.follow([KEY])
    await reads(secrets, "cannot be read: 403")
    kube.failure = None
    await reads(secrets, "first")
    kube.failure = Failure(503)
    kube.drop()
    kube.failure = None
    assert secrets.read(KEY) == "first"


async def test_without_any_api_server_the_key_is_missing(tmp_path: Path) -> None:
    secrets = KubernetesSecrets(str(tmp_path / "nothing"), lambda: None, PROMPT)
    secrets.follow([KEY])
    await reads(secrets, "cannot be read")
    secrets.close()


async def test_an_entry_that_is_no_text_is_told_of(
    kube: FakeKube, secrets: KubernetesSecrets
) -> None:
    thing = secret()
    thing["data"] = {"tor": base64.b64encode(b"\xff\xfe").decode()}
    kube.put(thing, "secrets")
    secrets.follow([KEY])
    await reads(secrets, "is no text")


async def test_a_keyring_keeps_a_key_that_vanishes_and_never_makes_one_up(
    kube: FakeKube, secrets: KubernetesSecrets, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ring = Keyring(secrets)
    ring.keep({KEY})
    first = ring.key(KEY)
    assert first.text is None
    assert "never opened without its password" in first.complaint
    kube.put(secret(tor="s3cret\n"), "secrets")
    await reads(secrets, "s3cret\n")
    assert ring.changed()
    assert ring.key(KEY).text == "s3cret"
    kube.store.delete("secrets", "bgp", "kube-system")
    await reads(secrets, "does not exist any more")
    kept = ring.key(KEY)
    assert kept.text == "s3cret"
    assert "the key it held before stays in force" in kept.complaint
    shown = caplog.text + repr((ring, kept, secrets)) + kept.complaint
    assert "s3cret" not in shown
    ring.keep(set())
    assert "not been read yet" in complaint(secrets)


@pytest.mark.parametrize(
    ("text", "words"), [("", "it holds 0"), ("x" * 81, "it holds 81"), ("schlüssel", "not ASCII")]
)
async def test_a_key_that_cannot_be_one_is_told_of_without_being_shown(
    kube: FakeKube, secrets: KubernetesSecrets, text: str, words: str
) -> None:
    kube.put(secret(tor=text), "secrets")
    secrets.follow([KEY])
    await reads(secrets, text)
    ring = Keyring(secrets)
    found = ring.key(KEY)
    assert found.text is None
    assert words in found.complaint
    assert not text or text not in found.complaint
