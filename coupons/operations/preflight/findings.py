"""The shapes of a preflight. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from runtime.operator_language import marked

F = TypeVar("F")


class Level(StrEnum):
    GREEN = marked("green")
    NOTE = marked(
        "note"
    )  #: worth knowing, or not looked at; nothing is wrong, and the exit code is as for green
    YELLOW = marked("yellow")  #: it works, and less well or less safely than it should
    RED = marked("red")  #: it does not work, or a promise is broken sooner or later


#: From the best to the worst.
WORSE: Sequence[Level] = tuple(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    level: Level
    what: str
    mend: str = ""


def red(what: str, mend: str) -> Finding:
    return Finding(level=Level.RED, what=what, mend=mend)


def yellow(what: str, mend: str) -> Finding:
    return Finding(level=Level.YELLOW, what=what, mend=mend)


def note(what: str, mend: str = "") -> Finding:
    return Finding(level=Level.NOTE, what=what, mend=mend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the deployment must carry."""

    users: int = 100_000  #: who claim within an hour
    apis: int = 2  #: gunicorn masters, each with COUPON_API_WORKERS
    consumers: int = 3
    may_write: bool = True  #: make a topic for a moment, which tells the brokers' clocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Generic[F]):
    """``right``: what is so if ``look`` finds nothing, in English; it has Korean (runtime/operator_language).

    ``blind``: why it cannot look; empty if it can.
    """

    name: str
    right: str
    look: Callable[[F], Iterable[Finding]]
    blind: Callable[[F], str] = lambda facts: ""


class Unanswered(Exception):
    """The subject cannot be read, so its checks tell nothing. ``findings``: why, and what mends it."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(finding.what for finding in findings))
        self.findings = findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(Generic[F]):
    """``read`` blocks its thread and raises Unanswered; ``told``: who answered."""

    name: str
    read: Callable[[Expected], F]
    checks: Sequence[Check[F]]
    told: Callable[[F], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the report. ``check``: the subject's name, a point, the check's name."""

    check: str
    level: Level
    what: str
    mend: str = ""
