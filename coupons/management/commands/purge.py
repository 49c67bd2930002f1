"""Delete the outcomes of events that ended long ago."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError
from django.utils import timezone
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.operations import purging, surroundings
from coupons.operations.purging import Plan, StillOpen
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

_AGE: Final = re.compile(r"([1-9][0-9]{0,3})([dwmy])", re.ASCII)
_DAYS: Final = {"d": 1, "w": 7, "m": 30, "y": 365}


class Command(OperatorCommand):
    help = (
        "Delete what became of each request of coupons whose last decision is older than that, and which are "
        "closed or over, with nothing undecided and no dead letter that waits. Winners keep their coupons. "
        "Runs beside everything else, in transactions of a thousand rows, and may be interrupted."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--older-than",
            type=_age,
            required=True,
            metavar="AGE",
            help="90d, 12w, 6m (of 30 days) or 1y",
        )
        parser.add_argument("--coupon", type=int, metavar="ID", help="this coupon alone")
        parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, older_than: timedelta, coupon: int | None, **options: Any) -> None:
        surroundings.refuse()
        before = timezone.now() - older_than
        try:
            plans = purging.plan(before, coupon_id=coupon)
        except LogUnavailable as error:
            raise CommandError(
                say("what is undecided is not known, the log cannot be read: {error}", error=say(str(error)))
            ) from error
        chosen = [each for each in plans if not each.why_not]
        if not options["json"]:
            self._print(plans, dry_run=options["dry_run"])
        deleted = 0
        if chosen and not options["dry_run"]:
            self._confirm(chosen, **options)
            deleted = self._purge(chosen, before, quiet=options["json"] or not sys.stderr.isatty())
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(plans, deleted=deleted, dry_run=options["dry_run"])))
        elif deleted:
            self.stdout.write(say("{deleted:,} outcomes deleted", deleted=deleted))

    def _purge(self, chosen: Sequence[Plan], before: datetime, *, quiet: bool) -> int:
        deleted = 0
        whole = sum(each.outcomes for each in chosen)
        with tqdm(total=whole, unit=say(" outcomes"), disable=quiet, leave=False) as bar:
            for each in chosen:
                try:
                    deleted += purging.purge(each.coupon_id, older_than=before, on_progress=bar.update)
                except StillOpen as error:
                    self.stderr.write(say("{error}: it keeps the rest", error=error))
        return deleted

    def _print(self, plans: Sequence[Plan], *, dry_run: bool) -> None:
        for each in plans:
            what = _fate(each, dry_run=dry_run)
            self.stdout.write(
                say(
                    "coupon {coupon_id} ({description}): {outcomes:,} outcomes, the last of "
                    "{last_decided:%Y-%m-%d}: {what}",
                    coupon_id=each.coupon_id,
                    description=each.description,
                    outcomes=each.outcomes,
                    last_decided=each.last_decided,
                    what=what,
                )
            )
        if not plans:
            self.stdout.write(say("nothing is that old"))

    def _confirm(self, chosen: Sequence[Plan], *, yes: bool, **options: Any) -> None:
        if yes:
            return
        number = sum(each.outcomes for each in chosen)
        what = say("delete {number:,} outcomes of {count} coupons for good", number=number, count=len(chosen))
        if not sys.stdin.isatty() or options["json"]:
            raise CommandError(
                say("this would {what}: add --yes to do it without asking, or --dry-run to look", what=what)
            )
        if input(say("{what}? [y/N] ", what=what)).strip().lower() not in ("y", "yes"):
            raise CommandError(say("nothing was done"))


def _fate(plan: Plan, *, dry_run: bool) -> str:
    if plan.why_not:
        return say("kept, {why}", why=plan.why_not)
    return say("would go") if dry_run else say("go")


def _age(text: str) -> timedelta:
    if (found := _AGE.fullmatch(text)) is None:
        raise argparse.ArgumentTypeError(say("{text!r} is no age: write 90d, 12w, 6m or 1y", text=text))
    return timedelta(days=int(found[1]) * _DAYS[found[2]])


def _as_json(plans: Sequence[Plan], *, deleted: int, dry_run: bool) -> dict[str, Any]:
    return {
        "dryRun": dry_run,
        "deleted": deleted,
        "coupons": [
            {
                "couponId": each.coupon_id,
                "outcomes": each.outcomes,
                "lastDecided": each.last_decided.isoformat(),
                "whyNot": each.why_not or None,
            }
            for each in plans
        ],
    }
