"""Which database server a stack has: what was asked for, else as last time, else what the machine has."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from dev.services import database_programs
from dev.services.errors import ServiceError
from dev.services.stack import DATABASE_VARIABLE, Kind, Stack, replace_text

FILE = "database.json"  #: in the stack's run folder, beside the records of what runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    kind: Kind
    binlog: bool  #: what a replica follows. Without one, a commit costs one write less


def last(stack: Stack) -> Choice | None:
    try:
        told = json.loads((stack.run_dir / FILE).read_text())
        return Choice(kind=Kind(told["kind"]), binlog=bool(told["binlog"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def for_a_start(stack: Stack) -> Choice:
    before = last(stack)
    kind = stack.asked_kind or (before.kind if before else database_programs.kind_at_hand())
    binlog = stack.asked_binlog
    if binlog is None:
        binlog = before is not None and before.binlog
    return Choice(kind=kind, binlog=binlog)


def remember(stack: Stack, choice: Choice) -> None:
    replace_text(stack.run_dir / FILE, json.dumps(asdict(choice)) + "\n")


def require_as_asked(stack: Stack, *, running: Choice) -> None:
    """A server that runs is never taken for another one."""
    if stack.asked_kind not in (None, running.kind):
        line = stack.command_line(f"restart mariadb --database {stack.asked_kind}")
        raise ServiceError(
            f"the database that runs is {running.kind}, not {stack.asked_kind}: leave out --database and "
            f"{DATABASE_VARIABLE}, or change it with `{line}`"
        )
    if stack.asked_binlog not in (None, running.binlog):
        line = stack.command_line(f"restart mariadb {'--binlog' if stack.asked_binlog else '--no-binlog'}")
        has = "has a" if running.binlog else "has no"
        raise ServiceError(f"the database that runs {has} binary log: change that with `{line}`")
