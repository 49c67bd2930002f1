"""Remove a rehearsal with all its traces."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from coupons.eventlog.backlog import LogUnavailable
from coupons.eventlog.events import MAX_ID
from coupons.models import Coupon
from coupons.operations import rehearsals, surroundings
from coupons.operations.rehearsals import NotRemoved, Traces
from runtime.arguments import whole_number


class Command(BaseCommand):
    help = (
        "Remove a coupon that is marked as a rehearsal: its row, who has it, outcomes, dead letters, "
        "figures, steps, and its keys in Redis. It must be closed and decided. Its events stay in the log."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--remove", type=whole_number(1, MAX_ID), required=True, metavar="ID", help="the coupon"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would go and remove nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        surroundings.refuse()
        coupon_id = options["remove"]
        coupon = Coupon.objects.filter(pk=coupon_id).first()
        if coupon is None:
            raise CommandError(f"there is no coupon {coupon_id}")
        try:
            rehearsals.refuse(coupon)
            if options["dry_run"]:
                self._print(rehearsals.traces(coupon_id), "would go", **options)
                return
            self._confirm(f"remove {coupon} and all its traces", yes=options["yes"])
            gone = rehearsals.remove(coupon_id, who=getpass.getuser(), why="manage.py rehearsal")
        except (NotRemoved, LogUnavailable) as error:
            raise CommandError(str(error)) from error
        self._print(gone, "gone", **options)

    def _confirm(self, what: str, *, yes: bool) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"this would {what}: add --yes to do it without asking")
        if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was removed")

    def _print(self, gone: Traces, verb: str, **options: Any) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(gone) | {"dryRun": options["dry_run"]}))
        else:
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(gone).items())
            self.stdout.write(f"{verb}: the coupon, {counts}")
