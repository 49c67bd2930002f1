"""The command line: parse, wire, run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from dev.processes import ProcessFailed, interrupt_by, say
from dev.servers import ServiceError
from dev.services import lifecycle, report
from dev.services.kafka import Kafka
from dev.services.mariadb import MariaDB
from dev.services.mariadb_client import Client
from dev.services.redis import Redis
from dev.services.replica import Replica
from dev.services.service import Service
from dev.services.stack import (
    DATABASE,
    DATABASE_VARIABLE,
    DEFAULT_DIRECTORY,
    DEFAULT_PORTS,
    REPLICA,
    Kind,
    Stack,
    kind,
    port,
    variable,
)

Run = Callable[[argparse.Namespace, Stack], int]
NOT_ALL_UP = 3  #: exit status of `status`, as init scripts have it
SUMMARY = "MariaDB or MySQL, Redis and Apache Kafka on loopback, in one folder, without Docker."
#: Without the stack's lock: a test may strike while another process starts something.
STRIKES = {"kill": lifecycle.kill, "pause": lifecycle.pause, "resume": lifecycle.resume}
SERVER_ACTIONS = {
    "start": "Have servers running and answering; those that already are stay as they are.",
    "stop": lifecycle.stop.__doc__,
    "restart": "Stop, then start.",
    **{action: act.__doc__ for action, act in STRIKES.items()},
    "status": f"Show what runs; exit status {NOT_ALL_UP} unless all of it is up.",
}
DUMP_ACTIONS = {"dump": Client.back_up, "restore": Client.restore}
REPLICA_ACTIONS = {"lag": Replica.lag, "follow": Replica.follow, "promote": Replica.promote}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    interrupt_by(signal.SIGTERM, signal.SIGHUP)
    ports = {name: getattr(options, f"{name}_port") for name in DEFAULT_PORTS}
    stack = Stack(
        directory=options.dir.resolve(),
        asked_ports={name: port for name, port in ports.items() if port is not None},
        asked_kind=options.database,
        asked_binlog=options.binlog,
        wait_s=options.wait,
    )
    try:
        run: Run = options.run
        return run(options, stack)
    except (ServiceError, ProcessFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. `status` shows what runs, `stop` ends it, `start` goes on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    common = _common()
    parser = argparse.ArgumentParser(prog="python -m dev.services", description=SUMMARY)
    actions = parser.add_subparsers(dest="action", required=True)

    def add(action: str, text: str | None, run: Run) -> argparse.ArgumentParser:
        one = actions.add_parser(action, parents=[common], help=text, description=text)
        one.set_defaults(run=run)
        return one

    for action, text in SERVER_ACTIONS.items():
        one = add(action, text, _status if action == "status" else _change)
        names = (
            f"{', '.join(DEFAULT_PORTS)}; none means all but the replica, which begins as a copy of mariadb"
        )
        one.add_argument("names", nargs="*", metavar="NAME", help=names)
        if action == "status":
            one.add_argument("--json", action="store_true", help="print it as JSON")
    sql = add("sql", "run SQL as the database's root, through its socket", _in_database)
    sql.add_argument("statement")
    sql.add_argument("--on", choices=["mariadb", REPLICA], default="mariadb", help="default: %(default)s")
    for action, act in DUMP_ACTIONS.items():
        one = add(action, act.__doc__, _in_database)
        one.set_defaults(on="mariadb")
        one.add_argument("file", type=Path)
        one.add_argument("--name", default=DATABASE, help="which database (default: %(default)s)")
    for action, steer in REPLICA_ACTIONS.items():
        add(action, steer.__doc__, _in_database).set_defaults(on=REPLICA)
    return parser


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--dir", type=Path, default=DEFAULT_DIRECTORY, help="folder of the stack (default: %(default)s)"
    )
    common.add_argument(
        "--database",
        type=kind,
        default=os.environ.get(DATABASE_VARIABLE) or None,
        metavar="|".join(Kind),
        help=f"the server behind the name mariadb; or {DATABASE_VARIABLE}; default: as last time, else "
        "what the machine has. Where there is no MySQL, apt fetches it into the stack's folder",
    )
    common.add_argument(
        "--binlog",
        action=argparse.BooleanOptionalAction,
        help="keep a binary log, which a replica needs; default: as last time, else not",
    )
    for name, usual in DEFAULT_PORTS.items():
        ours = f"or {variable(name)}; default: as last time, else {usual}"
        asked = os.environ.get(variable(name)) or None
        common.add_argument(f"--{name}-port", type=port, default=asked, metavar="PORT", help=ours)
    common.add_argument(
        "--wait", type=float, default=120.0, metavar="SECONDS", help="how long one server may take to answer"
    )
    return common


def _servers(options: argparse.Namespace, stack: Stack) -> tuple[list[Service], list[Service]]:
    """Those named, and all. The replica is there for whoever names it, and while it runs."""
    for name in options.names:
        if name not in DEFAULT_PORTS:
            raise ServiceError(
                f"there is no service {name!r}: choose from {', '.join(DEFAULT_PORTS)}, or name none for all"
            )
    everything: list[Service] = [MariaDB(stack=stack), Redis(stack=stack), Kafka(stack=stack)]
    replica = Replica(stack=stack)
    if REPLICA in options.names or replica.daemon.running():
        everything.append(replica)
    return [each for each in everything if not options.names or each.name in options.names], everything


def _change(options: argparse.Namespace, stack: Stack) -> int:
    services, everything = _servers(options, stack)
    match options.action:
        case "start" | "restart":
            with stack.locked():
                if options.action == "restart":
                    lifecycle.stop(services)
                lifecycle.start(services, everything=everything)
                report.write_environment(stack, everything)
            if not options.names:
                say(report.how_to_go_on(stack, everything, client=MariaDB(stack=stack).programs.client))
        case "stop":
            with stack.locked() if stack.run_dir.exists() else nullcontext():
                lifecycle.stop(services)
        case strike:
            STRIKES[strike](services)
    return 0


def _status(options: argparse.Namespace, stack: Stack) -> int:
    services, everything = _servers(options, stack)
    statuses = [report.status_of(service) for service in services]
    if options.json:
        environment = report.environment(everything)
        print(json.dumps({"services": list(map(asdict, statuses)), "environment": environment}, indent=2))
    else:
        print(report.table(statuses))
    return 0 if all(status.state is report.State.UP for status in statuses) else NOT_ALL_UP


def _in_database(options: argparse.Namespace, stack: Stack) -> int:
    server = Replica(stack=stack) if options.on == REPLICA else MariaDB(stack=stack)
    lifecycle.require_running(server)
    match options.action, server:
        case "sql", _:
            sql = f"USE `{DATABASE}`;\n{options.statement}"
            sys.stdout.write(server.client.run_as_root(sql, table=sys.stdout.isatty()))
        case action, Replica():
            REPLICA_ACTIONS[action](server)
        case action, _:
            DUMP_ACTIONS[action](server.client, options.name, options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
