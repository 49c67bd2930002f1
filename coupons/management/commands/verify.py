"""Check every promise."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError
from django.db import OperationalError, connection
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.models import Coupon
from coupons.operations import surroundings
from coupons.operations.verification.findings import Check, Finding, Report
from coupons.operations.verification.recent import Look, Recent
from coupons.operations.verification.run import verify
from runtime import columns
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

_SHOWN: Final = 50  #: findings that are printed; --json lists all
_EVERY_S: Final = 60.0  #: of --watch, as a consumer does it


class Command(OperatorCommand):
    help = (
        "Check every invariant between the database, Redis and the log: stock never negative, one claim per "
        "user, every accepted event decided, every outcome with its event, winners the first distinct valid "
        "users in log order, ranks without gaps, Redis equal to the truth. Reads only, and says what it does "
        "not look at. Exit code 1 if anything is wrong, or could not be checked."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--coupon", type=int, metavar="ID", help="this coupon alone")
        parser.add_argument(
            "--from-topic",
            action="store_true",
            help="read the whole log too, and recompute the winners from it",
        )
        parser.add_argument(
            "--watch",
            action="store_true",
            help="look each minute at what was decided since, as a consumer does; Ctrl-C ends it",
        )
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *args: Any, coupon: int | None, from_topic: bool, **options: Any) -> None:
        if options["watch"]:
            _refuse_beside_watch(coupon=coupon, from_topic=from_topic)
        surroundings.refuse()
        if coupon is not None and not Coupon.objects.filter(pk=coupon).exists():
            raise CommandError(say("there is no coupon {coupon}", coupon=coupon))
        if options["watch"]:
            self._watch(as_json=options["json"])
            return
        quiet = options["json"] or not sys.stderr.isatty()
        with tqdm(disable=quiet, unit=say(" checked"), leave=False) as bar:

            def show(done: int, whole: int) -> None:
                bar.total = whole
                bar.n = done
                if done == whole or done % 1000 == 0:
                    bar.refresh()

            try:
                report = verify(coupon_id=coupon, from_topic=from_topic, on_progress=show)
            except LogUnavailable as error:
                raise CommandError(say("the log cannot be read: {error}", error=say(str(error)))) from error
            except OperationalError as error:
                raise CommandError(
                    say("the database at DATABASE_URL does not answer: {error}", error=error)
                ) from error
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), ensure_ascii=False))
        else:
            self._print(report)
        if not report.is_clean:
            sys.exit(1)

    def _watch(self, *, as_json: bool) -> None:
        """A line for each look, and one for each finding. Exit code 1 if there was any."""
        verifying, has_found = Recent(), False
        with suppress(KeyboardInterrupt):
            while True:
                try:
                    look = verifying.look()
                except (LogUnavailable, OperationalError) as error:
                    self.stderr.write(say("not looked: {error}", error=say(str(error))))
                    connection.close()
                else:
                    has_found |= bool(look.findings)
                    self._print_look(look, as_json=as_json)
                    if look.behind:
                        continue
                time.sleep(_EVERY_S)
        if has_found:
            sys.exit(1)

    def _print_look(self, look: Look, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(asdict(look), ensure_ascii=False))
            return
        now = time.strftime("%H:%M:%S")
        found = say("{count} WRONG", count=len(look.findings)) if look.findings else say("ok")
        self.stdout.write(
            say(
                "{time}  {verified:,} verified, {behind:,} to go: {found}",
                time=now,
                verified=look.verified,
                behind=look.behind,
                found=found,
            )
        )
        for each in look.findings[:_SHOWN]:
            self.stdout.write(
                say(
                    "{check}: coupon {coupon_id}: {message}",
                    check=each.check,
                    coupon_id=each.coupon_id,
                    message=each.message,
                )
            )

    def _print(self, report: Report) -> None:
        self.stdout.write(
            say(
                "looked at {counts}",
                counts=", ".join(
                    say("{number} {what}", number=number, what=say(what))
                    for what, number in report.looked_at.items()
                ),
            )
        )
        for note in report.notes:
            self.stdout.write(say("note: {problem}", problem=note))
        for what in report.unchecked:
            self.stdout.write(say("NOT CHECKED: {what}", what=what))
        for what in report.not_looked_at:
            self.stdout.write(say("not looked at: {what}", what=what))
        found = Counter(finding.check for finding in report.findings)
        for check in Check:
            verdict = say("{count} WRONG", count=found[check]) if found[check] else say("ok")
            self.stdout.write(f"  {columns.right(verdict, 10)}  {check.value}")
        for finding in report.findings[:_SHOWN]:
            self.stdout.write(_line(finding))
        if len(report.findings) > _SHOWN:
            self.stdout.write(
                say("... and {count} more; --json lists all", count=len(report.findings) - _SHOWN)
            )
        shown = say("{count} findings", count=len(report.findings))
        if report.unchecked:
            shown += say(", and not everything was checked")
        self.stdout.write(say("clean") if report.is_clean else shown)


def _refuse_beside_watch(*, coupon: int | None, from_topic: bool) -> None:
    given = [
        name
        for name, is_given in (("--coupon", coupon is not None), ("--from-topic", from_topic))
        if is_given
    ]
    if given:
        raise CommandError(
            say(
                "--watch looks at what was decided of all coupons, and not at the whole log: run verify "
                "{options} without --watch, or leave {options} out",
                options=" ".join(given),
            )
        )


def _line(finding: Finding) -> str:
    where = "" if finding.coupon_id is None else say("coupon {coupon_id}: ", coupon_id=finding.coupon_id)
    request = say(" (request {request_id})", request_id=finding.request_id) if finding.request_id else ""
    return f"{finding.check}: {where}{finding.message}{request}"
