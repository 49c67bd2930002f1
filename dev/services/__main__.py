"""The command line: parse, wire, run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial

from dev.processes import ProcessFailed, interrupt_by, say
from dev.services import database_programs, lifecycle, report
from dev.services.arguments import DATABASE_ACTIONS, NOT_ALL_UP, REPLICA_ACTIONS, parser
from dev.services.errors import ServiceError
from dev.services.kafka import Kafka
from dev.services.mariadb import MariaDB
from dev.services.redis import Redis
from dev.services.replica import Replica
from dev.services.service import Service
from dev.services.stack import ALL_NAMES, DATABASE, REPLICA, Stack, parse_kind, parse_ports

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    interrupt_by(signal.SIGTERM, signal.SIGHUP)
    try:
        stack = Stack(
            directory=options.dir.resolve(),
            asked_ports=parse_ports(
                flags={name: getattr(options, f"{name}_port") for name in ALL_NAMES}, environ=os.environ
            ),
            asked_kind=parse_kind(flag=options.database, environ=os.environ),
            asked_binlog=options.binlog,
            wait_s=options.wait,
        )
        if options.action in {"sql", *DATABASE_ACTIONS, *REPLICA_ACTIONS}:
            return _run_in_database(options, stack=stack)
        return _run(options, stack=stack, everything=_everything(stack, named=options.names))
    except (ServiceError, ProcessFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. `status` shows what runs, `stop` ends it, `start` goes on.", file=sys.stderr)
        return INTERRUPTED


def _everything(stack: Stack, *, named: Sequence[str]) -> list[Service]:
    """The replica is there for whoever names it, and while it runs."""
    replica = Replica(stack=stack)
    everything = [MariaDB(stack=stack), Redis(stack=stack), Kafka(stack=stack)]
    return [*everything, replica] if REPLICA in named or replica.daemon.running() else everything


def _run(options: argparse.Namespace, *, stack: Stack, everything: Sequence[Service]) -> int:
    tell = partial(say, stream=sys.stderr if options.json else sys.stdout)
    services = _chosen(options.names, everything)
    match options.action:
        case "start" | "restart":
            with stack.locked():
                if options.action == "restart":
                    lifecycle.stop(services, say=tell)
                lifecycle.start(services, stack=stack, everything=everything, say=tell)
                report.write_environment(stack, report.environment(_ports(everything)))
            if not options.names:
                client = database_programs.find_client(MariaDB(stack=stack).choice.kind)
                tell(report.how_to_go_on(stack, client=client, ports=_ports(everything)))
        case "stop":
            with stack.locked() if stack.run_dir.exists() else nullcontext():
                lifecycle.stop(services, say=tell)
        case "kill" | "pause" | "resume":
            # Without the lock: a test may strike while another process starts something.
            getattr(lifecycle, options.action)(services, say=tell)
    return _show(options, services=services, everything=everything)


def _chosen(names: Sequence[str], everything: Sequence[Service]) -> list[Service]:
    for name in names:
        if name not in ALL_NAMES:
            raise ServiceError(
                f"there is no service {name!r}: choose from {', '.join(ALL_NAMES)}, or name none for all"
            )
    return [service for service in everything if not names or service.name in names]


def _ports(everything: Sequence[Service]) -> dict[str, int]:
    return {service.name: service.port for service in everything}


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


def _run_in_database(options: argparse.Namespace, *, stack: Stack) -> int:
    at_the_replica = options.action in REPLICA_ACTIONS or getattr(options, "on", None) == REPLICA
    server = Replica(stack=stack) if at_the_replica else MariaDB(stack=stack)
    if server.daemon.running() is None:
        line = stack.command_line(f"start {server.name}")
        raise ServiceError(f"{server.name} is not running: start it with `{line}`")
    match options.action, server:
        case "sql", _:
            return _run_sql(server, options.statement)
        case "dump", _:
            server.client.back_up(options.name, options.file)
        case "restore", _:
            server.client.restore(options.name, options.file)
        case "lag" | "follow" | "promote", _:
            getattr(server, options.action)()
    return 0


def _run_sql(server: MariaDB, statement: str) -> int:
    done = server.client.run_as_root(f"USE `{DATABASE}`;\n{statement}", table=sys.stdout.isatty())
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
