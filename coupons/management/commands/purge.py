"""Delete the outcomes of events that ended long ago."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.operations import purging, surroundings
from coupons.operations.purging import Plan, StillOpen

_AGE: Final = re.compile(r"([1-9][0-9]{0,3})([dwmy])", re.ASCII)
_DAYS: Final = {"d": 1, "w": 7, "m": 30, "y": 365}


class Command(BaseCommand):
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
            raise CommandError(f"what is undecided is not known, the log cannot be read: {error}") from error
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
            self.stdout.write(f"{deleted:,} outcomes deleted")

    def _purge(self, chosen: Sequence[Plan], before: datetime, *, quiet: bool) -> int:
        deleted = 0
        whole = sum(each.outcomes for each in chosen)
        with tqdm(total=whole, unit=" outcomes", disable=quiet, leave=False) as bar:
            for each in chosen:
                try:
                    deleted += purging.purge(each.coupon_id, older_than=before, on_progress=bar.update)
                except StillOpen as error:
                    self.stderr.write(f"{error}: it keeps the rest")
        return deleted

    def _print(self, plans: Sequence[Plan], *, dry_run: bool) -> None:
        for each in plans:
            what = f"kept, {each.why_not}" if each.why_not else "would go" if dry_run else "go"
            self.stdout.write(
                f"coupon {each.coupon_id} ({each.description}): {each.outcomes:,} outcomes, the last of "
                f"{each.last_decided:%Y-%m-%d}: {what}"
            )
        if not plans:
            self.stdout.write("nothing is that old")

    def _confirm(self, chosen: Sequence[Plan], *, yes: bool, **options: Any) -> None:
        if yes:
            return
        number = sum(each.outcomes for each in chosen)
        what = f"delete {number:,} outcomes of {len(chosen)} coupons for good"
        if not sys.stdin.isatty() or options["json"]:
            raise CommandError(f"this would {what}: add --yes to do it without asking, or --dry-run to look")
        if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was done")


def _age(text: str) -> timedelta:
    if (found := _AGE.fullmatch(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write 90d, 12w, 6m or 1y")
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
