"""Check every promise."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.models import Coupon
from coupons.operations import surroundings
from coupons.operations.verification.findings import Check, Report
from coupons.operations.verification.run import verify

_SHOWN: Final = 50  #: findings that are printed; --json lists all


class Command(BaseCommand):
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
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *args: Any, coupon: int | None, from_topic: bool, **options: Any) -> None:
        surroundings.refuse()
        if coupon is not None and not Coupon.objects.filter(pk=coupon).exists():
            raise CommandError(f"there is no coupon {coupon}")
        quiet = options["json"] or not sys.stderr.isatty()
        with tqdm(disable=quiet, unit=" checked", leave=False) as bar:

            def show(done: int, whole: int) -> None:
                bar.total = whole
                bar.n = done
                if done == whole or done % 1000 == 0:
                    bar.refresh()

            try:
                report = verify(coupon_id=coupon, from_topic=from_topic, on_progress=show)
            except LogUnavailable as error:
                raise CommandError(f"the log cannot be read: {error}") from error
            except OperationalError as error:
                raise CommandError(f"the database at DATABASE_URL does not answer: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), ensure_ascii=False))
        else:
            self._print(report)
        if not report.is_clean:
            sys.exit(1)

    def _print(self, report: Report) -> None:
        self.stdout.write("looked at " + ", ".join(f"{n} {what}" for what, n in report.looked_at.items()))
        for note in report.notes:
            self.stdout.write(f"note: {note}")
        for what in report.unchecked:
            self.stdout.write(f"NOT CHECKED: {what}")
        for what in report.not_looked_at:
            self.stdout.write(f"not looked at: {what}")
        found = Counter(finding.check for finding in report.findings)
        for check in Check:
            self.stdout.write(f"  {'ok' if not found[check] else f'{found[check]} WRONG':>10}  {check.value}")
        for finding in report.findings[:_SHOWN]:
            where = f"coupon {finding.coupon_id}: " if finding.coupon_id is not None else ""
            request = f" (request {finding.request_id})" if finding.request_id else ""
            self.stdout.write(f"{finding.check}: {where}{finding.message}{request}")
        if len(report.findings) > _SHOWN:
            self.stdout.write(f"... and {len(report.findings) - _SHOWN} more; --json lists all")
        shown = f"{len(report.findings)} findings"
        if report.unchecked:
            shown += ", and not everything was checked"
        self.stdout.write("clean" if report.is_clean else shown)
