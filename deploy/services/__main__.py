"""The command line: parse, wire, run."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TextIO

from deploy.services import lifecycle, programs, report
from deploy.services.errors import ServiceError
from deploy.services.kafka import Kafka
from deploy.services.mariadb import MariaDB
from deploy.services.redis import Redis
from deploy.services.service import Service
from deploy.services.stack import (
    DATABASE,
    DEFAULT_DIRECTORY,
    DEFAULT_PORTS,
    NAMES,
    Stack,
    flag,
    parse_ports,
    variable,
)

NOT_ALL_UP = 3  #: exit status of `status`, as init scripts have it
INTERRUPTED = 130
SUMMARY = "MariaDB, Redis and Apache Kafka on loopback, in one folder, without Docker."
ACTIONS: Mapping[str, str] = {
    "start": "start servers and wait until they answer; no-op for those that run",
    "stop": "stop servers in good order",
    "restart": "stop, then start",
    "kill": "end servers with SIGKILL, as a crash would",
    "pause": "halt servers with SIGSTOP: connections stay, nothing answers",
    "resume": "let paused servers go on (SIGCONT)",
    "status": f"show what runs; exit status {NOT_ALL_UP} unless all of it is up",
}


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--dir", type=Path, default=DEFAULT_DIRECTORY, help="folder of the stack (default: %(default)s)"
    )
    for name in NAMES:
        ours = f"or {variable(name)}; default: as last time, else {DEFAULT_PORTS[name]}"
        common.add_argument(flag(name), metavar="PORT", help=ours)
    common.add_argument(
        "--wait", type=float, default=120.0, metavar="SECONDS", help="how long one server may take to answer"
    )
    common.add_argument(
        "--json", action="store_true", help="print the result as JSON, everything else to stderr"
    )
    main_parser = argparse.ArgumentParser(prog="python -m deploy.services", description=SUMMARY)
    actions = main_parser.add_subparsers(dest="action", required=True)
    for action, text in ACTIONS.items():
        one = actions.add_parser(action, parents=[common], help=text, description=text)
        one.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; none means all")
    sql = actions.add_parser(
        "sql", parents=[common], help="run SQL as the database's root, through its socket"
    )
    sql.add_argument("statement")
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        stack = Stack(
            directory=options.dir.resolve(),
            asked_ports=parse_ports(
                flags={name: getattr(options, f"{name}_port") for name in NAMES}, environ=os.environ
            ),
            wait_s=options.wait,
        )
        everything: list[Service] = [MariaDB(stack=stack), Redis(stack=stack), Kafka(stack=stack)]
        if options.action == "sql":
            return _run_sql(MariaDB(stack=stack), options.statement)
        return _run(options, stack=stack, everything=everything)
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. `status` shows what runs, `stop` ends it, `start` goes on.", file=sys.stderr)
        return INTERRUPTED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(stream: TextIO, line: str) -> None:
    """Print; a reader that has gone (`| head`) is no reason to leave a start half done."""
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(options: argparse.Namespace, *, stack: Stack, everything: Sequence[Service]) -> int:
    say = partial(_say, sys.stderr if options.json else sys.stdout)

    services = _chosen(options.names, everything)
    match options.action:
        case "start" | "restart":
            with stack.locked():
                if options.action == "restart":
                    lifecycle.stop(services, say=say)
                lifecycle.start(services, stack=stack, everything=everything, say=say)
                report.write_environment(stack, report.environment(_ports(everything)))
            if not options.names:
                say(_how_to_go_on(stack, everything))
        case "stop":
            with stack.locked() if stack.run_dir.exists() else nullcontext():
                lifecycle.stop(services, say=say)
        # Without the lock: a test may strike while another process starts something.
        case "kill":
            lifecycle.kill(services, say=say)
        case "pause":
            lifecycle.pause(services, say=say)
        case "resume":
            lifecycle.resume(services, say=say)
    return _show(options, services=services, everything=everything)


def _chosen(names: Sequence[str], everything: Sequence[Service]) -> list[Service]:
    for name in names:
        if name not in NAMES:
            raise ServiceError(
                f"there is no service {name!r}: choose from {', '.join(NAMES)}, or name none for all"
            )
    return [service for service in everything if not names or service.name in names]


def _ports(everything: Sequence[Service]) -> dict[str, int]:
    return {service.name: service.port for service in everything}


def _how_to_go_on(stack: Stack, everything: Sequence[Service]) -> str:
    ports = _ports(everything)
    client = programs.find(["mariadb", "mysql"])
    relative = os.path.relpath(stack.env_file)
    shown = str(stack.env_file) if relative.startswith("..") else relative
    return report.how_to_go_on(
        env_file=shlex.quote(shown),
        client=client.name if client else "mariadb",
        ports=ports,
        variables=report.environment(ports),
    )


def _show(options: argparse.Namespace, *, services: Sequence[Service], everything: Sequence[Service]) -> int:
    if options.action != "status" and not options.json:
        return 0
    statuses = [report.status_of(service) for service in services]
    if options.json:
        result = {
            "services": [asdict(status) for status in statuses],
            "environment": report.environment(_ports(everything)),
        }
        print(json.dumps(result, indent=2))
    else:
        print(report.table(statuses))
    all_up = all(status.state is report.State.UP for status in statuses)
    return NOT_ALL_UP if options.action == "status" and not all_up else 0


def _run_sql(database: MariaDB, statement: str) -> int:
    if database.daemon.running() is None:
        line = database.stack.command_line("start mariadb")
        raise ServiceError(f"mariadb is not running: start it with `{line}`")
    done = database.run_as_root(f"USE `{DATABASE}`;\n{statement}", table=sys.stdout.isatty())
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
