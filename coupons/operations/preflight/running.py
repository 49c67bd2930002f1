"""Reads the subjects side by side and judges them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import Any, Final

from django.db import connections

from coupons.operations.preflight.findings import Check, Expected, Level, Result, Subject, Unanswered, red
from runtime.operator_language import say

ANSWERS: Final = "answers"  #: the name of each subject's first line
#: For one subject. Shorter, and a slow broker's many answers are not waited for; longer, and an operator
#: waits for a server that hangs. All subjects are read at the same time.
PATIENCE_S: Final = 30.0


def names(subjects: Sequence[Subject[Any]]) -> list[str]:
    """All that may be asked for alone: subjects, and their checks."""
    return [name for subject in subjects for name in (subject.name, *_names_of(subject))]


def chosen(subjects: Sequence[Subject[Any]], only: Collection[str]) -> list[Subject[Any]]:
    return [subject for subject in subjects if not only or {subject.name, *_names_of(subject)} & {*only}]


def look(
    subjects: Sequence[Subject[Any]],
    expected: Expected,
    *,
    only: Collection[str] = (),
    patience_s: float = PATIENCE_S,
) -> Iterator[list[Result]]:
    """Each subject's results, in their order, as soon as they are there. ``only``: of ``names``; empty: all.

    A subject that hangs is left to its thread, which ends with the process.
    """
    until = time.monotonic() + patience_s
    running = [(subject, _in_thread(partial(subject.read, expected))) for subject in chosen(subjects, only)]
    for subject, future in running:
        wanted = {*_names_of(subject)} if not only or subject.name in only else {*only}
        yield list(_judged(subject, future, wanted=wanted, until=until))


def _names_of(subject: Subject[Any]) -> list[str]:
    return [f"{subject.name}.{each}" for each in (ANSWERS, *(check.name for check in subject.checks))]


def _in_thread(read: Callable[[], Any]) -> Future[Any]:
    """Not a pool's thread: those are waited for when the process ends, however long they hang."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(read())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is waited for
            future.set_exception(error)
        finally:
            connections.close_all()  # this thread's own

    threading.Thread(target=run, daemon=True, name="preflight").start()
    return future


def _judged(
    subject: Subject[Any], future: Future[Any], *, wanted: Collection[str], until: float
) -> Iterator[Result]:
    name = f"{subject.name}.{ANSWERS}"
    try:
        facts = future.result(timeout=max(0.0, until - time.monotonic()))
    except Unanswered as error:
        for finding in error.findings:
            yield Result(check=name, level=finding.level, what=finding.what, mend=finding.mend)
        return
    except FutureTimeout:
        finding = red(
            say("{name} does not answer in time", name=subject.name),
            say("see whether its server hangs, then again"),
        )
        yield Result(check=name, level=finding.level, what=finding.what, mend=finding.mend)
        return
    if name in wanted:
        yield Result(check=name, level=Level.GREEN, what=subject.told(facts))
    for check in subject.checks:
        if f"{subject.name}.{check.name}" in wanted:
            yield from _of_check(f"{subject.name}.{check.name}", check, facts)


def _of_check(name: str, check: Check[Any], facts: Any) -> Iterator[Result]:
    if reason := check.blind(facts):
        yield Result(check=name, level=Level.NOTE, what=say("not looked at: {reason}", reason=reason))
        return
    found = list(check.look(facts))
    for finding in found:
        yield Result(check=name, level=finding.level, what=finding.what, mend=finding.mend)
    if not found:
        yield Result(check=name, level=Level.GREEN, what=say(check.right))
