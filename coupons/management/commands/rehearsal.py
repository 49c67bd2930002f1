"""Remove a rehearsal with all its traces."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.eventlog.events import MAX_ID
from coupons.models import Coupon
from coupons.operations import rehearsals, surroundings
from coupons.operations.rehearsals import NotRemoved, Traces
from runtime.arguments import whole_number
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say


class Command(OperatorCommand):
    help = (
        "Remove a coupon that is marked as a rehearsal: its row, who has it, outcomes, dead letters, "
        "figures, its list, steps, and its keys in Redis. It must be closed and decided. Its events stay in "
        "the log. May be interrupted and run again."
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
            raise CommandError(say("there is no coupon {coupon_id}", coupon_id=coupon_id))
        try:
            rehearsals.refuse(coupon)
            if options["dry_run"]:
                self._print(rehearsals.traces(coupon_id), is_gone=False, **options)
                return
            self._confirm(say("remove {coupon} and all its traces", coupon=coupon), yes=options["yes"])
            gone = self._remove(coupon_id, quiet=options["json"] or not sys.stderr.isatty())
        except NotRemoved as error:
            raise CommandError(str(error)) from error
        except Coupon.DoesNotExist as error:  # somebody else removed it meanwhile
            raise CommandError(say("there is no coupon {coupon_id}", coupon_id=coupon_id)) from error
        except LogUnavailable as error:
            raise CommandError(say(str(error))) from error
        self._print(gone, is_gone=True, **options)

    def _remove(self, coupon_id: int, *, quiet: bool) -> Traces:
        whole = rehearsals.traces(coupon_id).whole
        with tqdm(total=whole, unit=say(" rows"), disable=quiet, leave=False) as bar:
            return rehearsals.remove(
                coupon_id, who=getpass.getuser(), why="manage.py rehearsal", on_progress=bar.update
            )

    def _confirm(self, what: str, *, yes: bool) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandError(say("this would {what}: add --yes to do it without asking", what=what))
        if input(say("{what}? [y/N] ", what=what)).strip().lower() not in ("y", "yes"):
            raise CommandError(say("nothing was removed"))

    def _print(self, gone: Traces, *, is_gone: bool, **options: Any) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(gone) | {"dryRun": options["dry_run"]}))
        else:
            rows = say(
                "the coupon, {user_coupons} user coupons, {outcomes} outcomes, {dead_letters} dead letters, "
                "{refusals} refusals, {figures} figures, {eligible_users} entries of its list, {steps} steps",
                **asdict(gone),
            )
            self.stdout.write(
                say("gone: {rows}", rows=rows) if is_gone else say("would go: {rows}", rows=rows)
            )
