"""``kroute check-config``: is this file right, and what does it say with all defaults?"""

from __future__ import annotations

import argparse
import sys

from kroute.cli import NO, OK
from kroute.codec.show import as_json
from kroute.model.errors import ConfigError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("check-config", help="check a configuration file")
    parser.add_argument("file", nargs="?", default="/etc/kroute/kroute.yaml", metavar="FILE")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema instead")
    parser.add_argument("--effective", action="store_true", help="print the file with all defaults")
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Check; exit code 1 and one line for each complaint where the file is wrong."""
    from kroute.codec.config import dump_config, json_schema, plain
    from kroute.drivers.config_file import ConfigFile

    if args.schema:
        print(as_json(json_schema()), end="")
        return OK
    try:
        config = ConfigFile(args.file).load()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return NO
    if args.effective:
        print(as_json(plain(config)) if args.output == "json" else dump_config(config), end="")
    else:
        print(f"{args.file}: ok")
    return OK
