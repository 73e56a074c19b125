"""Services are followed while the configuration in force wants them, whoever put it in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from kroute.daemon import services as module
from kroute.daemon.control import Control
from kroute.daemon.services import Following, StaticServices
from kroute.model.config import Config
from kroute.model.config_services import Services, StaticService
from kroute.model.inventory import SERVICES, Listed, ServicesListed, SlicesListed, Stale
from kroute.model.net import Address
from kroute.model.service import Service
from kroute.model.state import Observed
from kroute.plan.observe import ConfigChanged
from support.daemon_road import Street
from support.inventory import eventually

WANTED = Config(services=Services(enabled=True))


class Driver:
    """An inventory driver that tells of one service where it is asked to, and waits."""

    lives: list[bool] = []

    def __init__(self, services: bool) -> None:
        self.services = services

    async def watch(self, emit: Callable[[Any], None]) -> None:
        Driver.lives.append(self.services)
        if self.services:
            emit(ServicesListed((Service(namespace="default", name="web"),)))
            emit(SlicesListed(()))
            emit(Stale("away", SERVICES))
        emit(Listed(()))
        await asyncio.Event().wait()


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Control:
    Driver.lives = []
    monkeypatch.setattr(
        module, "inventory_driver", lambda _c, _me, services, keys: Driver(services)
    )
    street = Street()
    observed = Observed(me="n1", config=Config())
    return Control(observed, street.road, lambda _wish: None, lambda: 0.0)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_services_come_and_go_with_the_configuration_and_nodes_stay(control: Control):
    task = asyncio.create_task(Following(control, control.observed.config.inventory).run())
    await turns()
    assert Driver.lives == [False]
    assert control.observed.listed
    control.post(ConfigChanged(WANTED))
    await turns()
    assert set(control.observed.services) == {"default/web"}
    control.post(ConfigChanged(replace(WANTED, log_level="debug")))
    await turns()
    assert Driver.lives == [False, True], "another change of the configuration disturbs nothing"
    control.post(ConfigChanged(Config()))
    await turns()
    assert Driver.lives == [False, True, False]
    assert not control.observed.services
    assert not [p for problems in control.observed.reports.values() for p in problems]
    assert control.observed.listed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_driver_that_fails_ends_the_following(control: Control, monkeypatch: Any):
    class Broken(Driver):
        async def watch(self, emit: Callable[[Any], None]) -> None:
            raise RuntimeError("a bug")

    monkeypatch.setattr(
        module, "inventory_driver", lambda _c, _me, services, keys: Broken(services)
    )
    with pytest.raises(BaseExceptionGroup):
        await Following(control, control.observed.config.inventory).run()


async def test_an_address_outlives_its_service_a_little(
    control: Control, monkeypatch: pytest.MonkeyPatch
):
    """Who has not heard yet that it is withdrawn is answered, not told that nobody is there."""
    bound: list[list[str]] = []

    def apply(wanted: frozenset[Address], _protocol: int) -> tuple[()]:
        bound.append(sorted(map(str, wanted)))
        return ()

    monkeypatch.setattr(module.loopback, "apply", apply)
    monkeypatch.setattr(module, "LINGER", 0.05)
    statics = StaticServices(control, 201)
    tasks = [asyncio.create_task(job) for _, job in statics.jobs()]

    def service(number: int) -> StaticService:
        addresses = (ip_address(f"192.0.2.{number}"), ip_address(f"2001:db8::{number}"))
        return StaticService(name=f"s{number}", addresses=addresses, bind=True)

    both = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
    for wanted, then in (
        ((service(1), service(2)), both),
        ((service(2),), both),
        ((service(2),), ["192.0.2.2", "2001:db8::2"]),
    ):
        statics.want(wanted)
        await eventually(lambda then=then: bound and bound[-1] == then)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert bound.count(both) == 1, "what lingers is no news"
