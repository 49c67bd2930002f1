"""Delete the outcomes of events that ended long ago."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError
from django.utils import timezone
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.operations import purging, purging_figures, surroundings
from coupons.operations.purging import Plan, StillOpen
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

_AGE: Final = re.compile(r"([1-9][0-9]{0,3})([dwmy])", re.ASCII)
_DAYS: Final = {"d": 1, "w": 7, "m": 30, "y": 365}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """Numbers of rows."""

    outcomes: int = 0
    figures: int = 0


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
        parser.add_argument(
            "--figures",
            action="store_true",
            help="the figures of each second of these coupons too: the report of the event goes with them",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(
        self, *args: Any, older_than: timedelta, coupon: int | None, figures: bool, **options: Any
    ) -> None:
        surroundings.refuse()
        before = timezone.now() - older_than
        try:
            plans = purging.plan(before, coupon_id=coupon, with_figures=figures)
        except LogUnavailable as error:
            raise CommandError(
                say("what is undecided is not known, the log cannot be read: {error}", error=say(str(error)))
            ) from error
        chosen = [each for each in plans if not each.why_not]
        if not options["json"]:
            self._print(plans, figures=figures, dry_run=options["dry_run"])
        deleted = Deleted()
        if chosen and not options["dry_run"]:
            self._confirm(chosen, figures=figures, **options)
            quiet = options["json"] or not sys.stderr.isatty()
            deleted = self._purge(chosen, before, figures=figures, quiet=quiet)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(plans, deleted=deleted, dry_run=options["dry_run"])))
        else:
            self._print_deleted(deleted)

    def _print_deleted(self, deleted: Deleted) -> None:
        if deleted.outcomes:
            self.stdout.write(say("{deleted:,} outcomes deleted", deleted=deleted.outcomes))
        if deleted.figures:
            self.stdout.write(say("{deleted:,} rows of figures deleted", deleted=deleted.figures))

    def _purge(self, chosen: Sequence[Plan], before: datetime, *, figures: bool, quiet: bool) -> Deleted:
        outcomes = rows = 0
        whole = sum(each.outcomes + (each.figures if figures else 0) for each in chosen)
        with tqdm(total=whole, unit=say(" rows"), disable=quiet, leave=False) as bar:
            for each in chosen:
                pk, show = each.coupon_id, bar.update
                try:
                    outcomes += purging.purge(pk, older_than=before, on_progress=show)
                    if figures:
                        rows += purging_figures.purge(pk, older_than=before, on_progress=show)
                except StillOpen as error:
                    self.stderr.write(say("{error}: it keeps the rest", error=error))
        return Deleted(outcomes=outcomes, figures=rows)

    def _print(self, plans: Sequence[Plan], *, figures: bool, dry_run: bool) -> None:
        for each in plans:
            what = _fate(each, dry_run=dry_run)
            if figures:
                line = say(
                    "coupon {coupon_id} ({description}): {outcomes:,} outcomes, {figures:,} rows of "
                    "figures: {what}",
                    coupon_id=each.coupon_id,
                    description=each.description,
                    outcomes=each.outcomes,
                    figures=each.figures,
                    what=what,
                )
                self.stdout.write(line)
                continue
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
        kept = sum(each.figures for each in plans if not each.why_not)
        if kept and not figures:
            self.stdout.write(
                say(
                    "{kept:,} rows of figures are kept, and with them the report: --figures deletes them too",
                    kept=kept,
                )
            )

    def _confirm(self, chosen: Sequence[Plan], *, figures: bool, yes: bool, **options: Any) -> None:
        if yes:
            return
        number = sum(each.outcomes for each in chosen)
        what = say("delete {number:,} outcomes of {count} coupons for good", number=number, count=len(chosen))
        if figures:
            what = say(
                "delete {number:,} outcomes of {count} coupons and {figures:,} rows of figures for good",
                number=number,
                count=len(chosen),
                figures=sum(each.figures for each in chosen),
            )
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


def _as_json(plans: Sequence[Plan], *, deleted: Deleted, dry_run: bool) -> dict[str, Any]:
    return {
        "dryRun": dry_run,
        "deleted": deleted.outcomes,
        "figuresDeleted": deleted.figures,
        "coupons": [
            {
                "couponId": each.coupon_id,
                "outcomes": each.outcomes,
                "figures": each.figures,
                "lastDecided": None if each.last_decided is None else each.last_decided.isoformat(),
                "whyNot": each.why_not or None,
            }
            for each in plans
        ],
    }
