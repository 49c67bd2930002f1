"""Every line of a CSV file is checked; nothing is written."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, TextIO

from django.core.exceptions import ValidationError

from coupons.models import Coupon, EligibleUser, User
from coupons.operations.importing.rows import (
    AT_ONCE,
    Kind,
    Problem,
    Progress,
    WrongLine,
    key_of,
    parsed,
    wrong_head,
)

_MOST_ERRORS: Final = 100  #: that are listed: a file with another separator has one in each line


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    line: int  #: of the file, from 1; the head is the first
    problem: Problem
    values: Mapping[str, object]

    @property
    def message(self) -> str:
        return self.problem.value.format(**self.values)


@dataclass(slots=True, kw_only=True)
class Checked:
    """What a file holds. ``rows`` without errors; not all errors are listed."""

    rows: int = 0
    error_count: int = 0
    errors: list[LineError] = field(default_factory=list)

    def add(self, line: int, problem: Problem, values: Mapping[str, object]) -> None:
        self.error_count += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(LineError(line=line, problem=problem, values=values))


def check(kind: Kind, file: TextIO, *, on_progress: Progress) -> Checked:
    """Read all of the file. Nothing is written."""
    found, seen = Checked(), set[object]()
    reader = csv.DictReader(file)
    if wrong := wrong_head(kind, reader.fieldnames or ()):
        found.add(1, wrong.problem, wrong.values)
        return found
    lines = _Lines(found)
    try:
        for row in reader:
            _look_at(kind, row, reader.line_num, found, seen, lines)
            on_progress(1)
    except csv.Error as error:
        found.add(reader.line_num, Problem.NO_CSV, {"told": str(error)})
    lines.look()
    found.errors.sort(key=attrgetter("line"))
    return found


def _look_at(
    kind: Kind, row: Mapping[str | None, Any], line: int, found: Checked, seen: set[object], lines: _Lines
) -> None:
    try:
        made = parsed(kind, row)
        key = key_of(kind, made)
        if key in seen:
            raise WrongLine(Problem.TWICE, id=", ".join(map(str, key if isinstance(key, tuple) else [key])))
    except ValidationError as error:
        told = [f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items()]
        found.add(line, Problem.OF_FIELD, {"told": "; ".join(told)})
        return
    except WrongLine as error:
        found.add(line, error.problem, error.values)
        return
    if key is not None:
        seen.add(key)
    found.rows += 1
    if kind is Kind.ELIGIBLE:
        lines.add(line, made)


class _Lines:
    """Lines of a list of eligible users, whose users and coupons are looked up together."""

    def __init__(self, found: Checked) -> None:
        self._found = found
        self._waiting: list[tuple[int, EligibleUser]] = []
        self._for_listed: dict[int, bool | None] = {}

    def add(self, line: int, listed: EligibleUser) -> None:
        self._waiting.append((line, listed))
        if len(self._waiting) == AT_ONCE:
            self.look()

    def look(self) -> None:
        waiting, self._waiting = self._waiting, []
        users = set(
            User.objects.filter(pk__in={each.user_id for _, each in waiting}).values_list("pk", flat=True)
        )
        for coupon_id in {each.coupon_id for _, each in waiting} - self._for_listed.keys():
            rows = Coupon.objects.filter(pk=coupon_id).values_list("eligible_only", flat=True)
            self._for_listed[coupon_id] = rows.first()
        for line, each in waiting:
            if (wrong := self._wrong(each, users)) is not None:
                self._found.rows -= 1
                self._found.add(line, *wrong)

    def _wrong(
        self, each: EligibleUser, users: Collection[int]
    ) -> tuple[Problem, Mapping[str, object]] | None:
        for_listed = self._for_listed[each.coupon_id]
        if for_listed is None:
            return Problem.NO_COUPON, {"id": each.coupon_id}
        if not for_listed:
            return Problem.FOR_ALL, {"id": each.coupon_id}
        return None if each.user_id in users else (Problem.NO_USER, {"id": each.user_id})
