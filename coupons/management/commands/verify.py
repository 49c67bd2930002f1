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

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.models import Coupon
from coupons.operations import surroundings
from coupons.operations.verification.findings import Check, Report
from coupons.operations.verification.recent import Look, Recent
from coupons.operations.verification.run import verify

_SHOWN: Final = 50  #: findings that are printed; --json lists all
_EVERY_S: Final = 60.0  #: of --watch, as a consumer does it


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
        parser.add_argument(
            "--watch",
            action="store_true",
            help="look each minute at what was decided since, as a consumer does; Ctrl-C ends it",
        )
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *args: Any, coupon: int | None, from_topic: bool, **options: Any) -> None:
        surroundings.refuse()
        if coupon is not None and not Coupon.objects.filter(pk=coupon).exists():
            raise CommandError(f"there is no coupon {coupon}")
        if options["watch"]:
            self._watch(as_json=options["json"])
            return
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

    def _watch(self, *, as_json: bool) -> None:
        """A line for each look, and one for each finding. Exit code 1 if there was any."""
        verifying, has_found = Recent(), False
        with suppress(KeyboardInterrupt):
            while True:
                try:
                    look = verifying.look()
                except (LogUnavailable, OperationalError) as error:
                    self.stderr.write(f"not looked: {error}")
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
        found = f"{len(look.findings)} WRONG" if look.findings else "ok"
        self.stdout.write(f"{now}  {look.verified:,} verified, {look.behind:,} to go: {found}")
        for each in look.findings[:_SHOWN]:
            self.stdout.write(f"{each.check}: coupon {each.coupon_id}: {each.message}")

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
