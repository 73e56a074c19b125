"""The low mark: what nobody should do. ExaBGP prints a JSON line for each UPDATE; one pyroute2 call for each route."""

from __future__ import annotations

import json
import sys
from typing import Any

from pyroute2 import IPRoute

PROTOCOL = 203


def main() -> None:
    """Read ExaBGP's lines for ever."""
    with IPRoute() as kernel:
        for line in sys.stdin:
            take(kernel, json.loads(line))


def take(kernel: Any, event: dict[str, Any]) -> None:
    """Do what one line says."""
    update = event.get("neighbor", {}).get("message", {}).get("update", {})
    for family in update.get("announce", {}).values():
        for gateway, prefixes in family.items():
            for prefix in prefixes:
                kernel.route("replace", dst=prefix["nlri"], gateway=gateway, proto=PROTOCOL)
    for prefixes in update.get("withdraw", {}).values():
        for prefix in prefixes:
            kernel.route("del", dst=prefix["nlri"], proto=PROTOCOL)


if __name__ == "__main__":
    main()
