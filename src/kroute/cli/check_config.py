"""``kroute check-config``: is this file right, and what does it say with all defaults?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kroute.cli import NO, OK
from kroute.codec.show import as_json
from kroute.model.errors import ConfigError, InputError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("check-config", help="check a configuration file")
    parser.add_argument("file", nargs="?", default="/etc/kroute/kroute.yaml", metavar="FILE")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema instead")
    parser.add_argument("--effective", action="store_true", help="print the file with all defaults")
    parser.add_argument(
        "--from-kube-router",
        action="store_true",
        help="FILE is kube-router's DaemonSet or command line: print kroute's file, and what differs",
    )
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Check; exit code 1 and one line for each complaint where the file is wrong."""
    from kroute.codec.config import dump_config, json_schema, plain
    from kroute.drivers.config_file import ConfigFile

    if args.schema:
        print(as_json(json_schema()), end="")
        return OK
    if args.from_kube_router:
        return _translate(args.file)
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


def _translate(file: str) -> int:
    """Print kube-router's settings as kroute's file; exit code 1 where some of them could not be read."""
    import yaml

    from kroute.codec.config import parse_config
    from kroute.codec.kube_router.deployment import read_deployment
    from kroute.codec.kube_router.translate import translate

    try:
        found = translate(read_deployment(Path(file).read_text(), file))
        text = yaml.safe_dump(found.document, sort_keys=False)
        parse_config(text, "the translation")
    except InputError as error:
        print(error, file=sys.stderr)
        return NO
    except (OSError, UnicodeDecodeError) as error:
        print(
            f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}", file=sys.stderr
        )
        return NO
    print(f"# kroute's configuration, translated from {file}\n#")
    for note in found.notes:
        print(f"# - {note}")
    print(text, end="")
    for complaint in found.complaints:
        print(f"{file}: {complaint.path}: {complaint.reason}; it is left out", file=sys.stderr)
    return NO if found.complaints else OK
