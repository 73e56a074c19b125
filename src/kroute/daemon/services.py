"""Services in the daemon: following them while they are wanted, and what static ones need besides being announced."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from kroute.daemon.control import Control
from kroute.drivers import loopback
from kroute.drivers.health import HealthChecks
from kroute.drivers.inventory import inventory_driver
from kroute.model.config import Config, Inventory
from kroute.model.config_services import StaticService
from kroute.model.inventory import (
    SERVICES,
    SLICES,
    Fresh,
    InventoryEvent,
    Problems,
    ServicesListed,
    SlicesListed,
)
from kroute.model.net import Address
from kroute.plan.observe import Checked
from kroute.reconcile import Reconciler

NO_SERVICES: Final[tuple[InventoryEvent, ...]] = (
    ServicesListed(()),
    SlicesListed(()),
    *(event for of in (SERVICES, SLICES) for event in (Problems((), of), Fresh(of))),
)
"""What is known of services while nobody wants to know."""
LINGER: Final = 3.0
"""Seconds for which an address stays on lo after its service: who has not heard of the withdrawal yet is answered."""


class Following:
    """Follows the inventory, with services or without, as the configuration in force has it."""

    def __init__(self, control: Control, inventory: Inventory) -> None:
        self._control = control
        self._inventory = inventory
        self._services = control.observed.config.services.enabled
        self._toggled = asyncio.Event()
        control.on_config = self._look_at

    def _look_at(self, config: Config) -> None:
        """A configuration is in force now: does it want services?"""
        if config.services.enabled != self._services:
            self._services = config.services.enabled
            self._toggled.set()

    async def run(self) -> None:
        """Follow until cancelled; where services are turned on or off, everything is listed anew."""
        while True:
            self._toggled.clear()
            services, me = self._services, self._control.observed.me
            keys = self._control.on_annotated_keys
            driver = inventory_driver(self._inventory, me, services=services, keys=keys)
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(driver.watch(self._control.post), name="inventory driver")
                while self._services == services:
                    await self._toggled.wait()
                    self._toggled.clear()
                watch.cancel()
            if services:
                for event in NO_SERVICES:
                    self._control.post(event)


class StaticServices:
    """Checks the static services that this node runs, and keeps their addresses on lo where that is wanted."""

    def __init__(self, control: Control, protocol: int) -> None:
        """``protocol`` marks our addresses."""
        self._health = HealthChecks(lambda name, state: control.post(Checked(name, state)))
        self._loopback = Reconciler[frozenset[Address]](
            "loopback", lambda wanted: loopback.apply(wanted, protocol), control.report
        )
        self._bound: frozenset[Address] = frozenset()
        self._leaving: frozenset[Address] = frozenset()
        self._leave: asyncio.TimerHandle | None = None
        control.want_statics = self.want

    def jobs(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        """What has to run, by name."""
        return ("health", self._health.run()), ("loopback", self._loopback.run())

    def want(self, services: tuple[StaticService, ...]) -> None:
        """Check and bind exactly these; an address that leaves does so after :data:`LINGER`."""
        self._health.want(services)
        before = self._bound
        self._bound = frozenset(a for s in services if s.bind for a in s.addresses)
        if before - self._bound:
            self._leaving |= before
            if self._leave is not None:
                self._leave.cancel()
            self._leave = asyncio.get_running_loop().call_later(LINGER, self._unbind)
        self._loopback.want(self._bound | self._leaving)

    def _unbind(self) -> None:
        self._leaving = frozenset()
        self._loopback.want(self._bound)
