"""Take over the tables of the application that this one replaces."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final

from django.core.management.base import CommandError
from django.db import Error as DatabaseLayerError
from django.db import connection
from tqdm import tqdm

from coupons.operations import surroundings
from coupons.operations.adopting import steps
from coupons.operations.adopting.findings import Option, Survey
from coupons.operations.adopting.survey import survey
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

#: Longer than a web application's statements take. Without a bound, an ALTER behind a forgotten transaction
#: would wait a day, and hold up every statement on the table.
_LOCK_WAIT_S: Final = 30


class Command(OperatorCommand):
    help = (
        "Take over the tables user, point, coupon and user_coupon that another application filled (the "
        "Kotlin/Spring one, or a person): says what differs and what is wrong with the rows, adds our "
        "columns, constraints and tables, counts who was issued, records the migrations as applied. No row "
        "is lost. Stop the other application first. May be interrupted and run again. docs/moving.md"
    )
    requires_system_checks = []  # the checks refuse these tables

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say all of it and change nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--move-duplicates",
            action="store_true",
            help="of rows for the same coupon and user (points: user) keep the earliest, and move the others "
            "whole to user_coupon_set_aside (point_set_aside)",
        )
        parser.add_argument(
            "--move-orphans",
            action="store_true",
            help="move rows whose user or coupon does not exist to the same tables",
        )

    def handle(self, *args: Any, dry_run: bool, yes: bool, **options: Any) -> None:
        allowed = [option for option in Option if options[option.removeprefix("--").replace("-", "_")]]
        as_json = options["json"]
        try:
            if connection.vendor != "mysql":
                raise CommandError(say("tables are taken over on MySQL and MariaDB; on SQLite run `migrate`"))
            found = survey(options=allowed)
            if not as_json:
                self._print(found, with_statements=dry_run)
            is_done = not (dry_run or found.obstacles or found.has_nothing_to_do)
            if is_done:
                self._confirm(found, yes=yes, may_ask=sys.stdin.isatty() and not as_json)
                self._carry_out(found, quiet=as_json)
        except DatabaseLayerError as error:
            raise CommandError(
                say(
                    "the database says: {error}. Nothing is lost: mend it and run adopt again, it "
                    "goes on there",
                    error=error,
                )
            ) from error
        self._end(found, is_done=is_done, as_json=as_json, dry_run=dry_run)

    def _print(self, found: Survey, *, with_statements: bool) -> None:
        for table, number in found.tables.items():
            self.stdout.write(say("found table {table}, {number} rows", table=table, number=number))
        if found.unapplied:
            self.stdout.write(
                say("migrations that are not applied yet: {names}", names=", ".join(found.unapplied))
            )
        for note in found.notes:
            self.stdout.write(say("note: {problem}", problem=note))
        for number, step in enumerate(found.steps, start=1):
            self.stdout.write(f"{number:>3}. {step.title}")
            for statement in step.statements if with_statements else ():
                self.stdout.write(f"       {statement};")
        for obstacle in found.obstacles:
            rows = f": {obstacle.count}" if obstacle.count else ""
            self.stdout.write(say("IN THE WAY: {what}{rows}", what=obstacle.what, rows=rows))
            for example in obstacle.examples:
                self.stdout.write(f"       {example}")
            if obstacle.count > len(obstacle.examples):
                more = obstacle.count - len(obstacle.examples)
                self.stdout.write(f"       {say('and {count} more', count=more)}")
            self.stdout.write(f"     {say('mend it with {mend}', mend=obstacle.mend)}")

    def _confirm(self, found: Survey, *, yes: bool, may_ask: bool) -> None:
        if yes:
            return
        if not may_ask:
            raise CommandError(say("adopt alters tables: add --yes to do it, or --dry-run to look"))
        self.stdout.write(
            say(
                "This alters the tables of {database}. Is there a backup, and is the other application "
                "stopped?",
                database=connection.settings_dict["NAME"],
            )
        )
        if input(say("Type yes to go on: ")).strip().lower() != "yes":
            raise CommandError(say("nothing was changed"))

    def _carry_out(self, found: Survey, *, quiet: bool) -> None:
        if not steps.lock():
            raise CommandError(say("another adopt is at work on this database"))
        steps.wait_no_longer_than(_LOCK_WAIT_S)
        with tqdm(found.steps, unit=say(" steps"), leave=False, disable=quiet or None) as bar:
            for step in bar:
                bar.set_description(step.title[:60])
                steps.carry_out(step)
        if found.tables:
            steps.record_migrations()
        steps.migrate_the_rest()
        if line := surroundings.in_one_line(surroundings.problems()):
            raise CommandError(line)

    def _end(self, found: Survey, *, is_done: bool, as_json: bool, dry_run: bool) -> None:
        if as_json:
            shown = {**found.as_json(), "dry_run": dry_run, "done": is_done or found.has_nothing_to_do}
            self.stdout.write(json.dumps(shown, ensure_ascii=False))
        elif is_done:
            self.stdout.write(say("taken over; `python manage.py verify` looks at everything once more"))
        elif found.has_nothing_to_do:
            self.stdout.write(_nothing_to_do())
        elif dry_run:
            self.stdout.write(say("nothing was changed"))
        if found.obstacles:
            if not as_json:
                self.stderr.write(
                    say("{count} things are in the way; nothing was changed", count=len(found.obstacles))
                )
            sys.exit(1)


def _nothing_to_do() -> str:
    line = surroundings.in_one_line(surroundings.problems())
    return (
        say("nothing to take over. {line}", line=line)
        if line
        else say("nothing to do: the tables are as they must be")
    )
