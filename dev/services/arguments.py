"""What the command line takes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from dev.services.stack import (
    ALL_NAMES,
    DATABASE,
    DATABASE_VARIABLE,
    DEFAULT_DIRECTORY,
    DEFAULT_PORTS,
    REPLICA,
    Kind,
    flag,
    variable,
)

NOT_ALL_UP = 3  #: exit status of `status`, as init scripts have it
SUMMARY = "MariaDB or MySQL, Redis and Apache Kafka on loopback, in one folder, without Docker."
ACTIONS: Mapping[str, str] = {
    "start": "start servers and wait until they answer; no-op for those that run",
    "stop": "stop servers in good order",
    "restart": "stop, then start",
    "kill": "end servers with SIGKILL, as a crash would",
    "pause": "halt servers with SIGSTOP: connections stay, nothing answers",
    "resume": "let paused servers go on (SIGCONT)",
    "status": f"show what runs; exit status {NOT_ALL_UP} unless all of it is up",
}
DATABASE_ACTIONS: Mapping[str, str] = {
    "dump": "write a database to a file, as it is at one moment",
    "restore": "replace a database by what a dump holds",
}
REPLICA_ACTIONS: Mapping[str, str] = {
    "lag": "let the replica fetch nothing more, so that it falls behind",
    "follow": "let it go on, and wait until it has all that its primary has",
    "promote": "make it a primary as it stands, which takes writes",
}


def parser() -> argparse.ArgumentParser:
    common = _common()
    main_parser = argparse.ArgumentParser(prog="python -m dev.services", description=SUMMARY)
    actions = main_parser.add_subparsers(dest="action", required=True)
    for action, text in ACTIONS.items():
        one = actions.add_parser(action, parents=[common], help=text, description=text)
        names = f"{', '.join(ALL_NAMES)}; none means all but the replica, which begins as a copy of mariadb"
        one.add_argument("names", nargs="*", metavar="NAME", help=names)
    text = "run SQL as the database's root, through its socket"
    sql = actions.add_parser("sql", parents=[common], help=text, description=text)
    sql.add_argument("statement")
    sql.add_argument("--on", choices=["mariadb", REPLICA], default="mariadb", help="default: %(default)s")
    for action, text in DATABASE_ACTIONS.items():
        one = actions.add_parser(action, parents=[common], help=text, description=text)
        one.add_argument("file", type=Path)
        one.add_argument("--name", default=DATABASE, help="which database (default: %(default)s)")
    for action, text in REPLICA_ACTIONS.items():
        actions.add_parser(action, parents=[common], help=text, description=text)
    return main_parser


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--dir", type=Path, default=DEFAULT_DIRECTORY, help="folder of the stack (default: %(default)s)"
    )
    common.add_argument(
        "--database",
        metavar="|".join(Kind),
        help=f"the server behind the name mariadb; or {DATABASE_VARIABLE}; default: as last time, else "
        "what the machine has. Where there is no MySQL, apt fetches it into the stack's folder",
    )
    common.add_argument(
        "--binlog",
        action=argparse.BooleanOptionalAction,
        help="keep a binary log, which a replica needs; default: as last time, else not",
    )
    for name in ALL_NAMES:
        ours = f"or {variable(name)}; default: as last time, else {DEFAULT_PORTS[name]}"
        common.add_argument(flag(name), metavar="PORT", help=ours)
    common.add_argument(
        "--wait", type=float, default=120.0, metavar="SECONDS", help="how long one server may take to answer"
    )
    common.add_argument(
        "--json", action="store_true", help="print the result as JSON, everything else to stderr"
    )
    return common
