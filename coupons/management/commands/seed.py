"""Seed the database."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError
from django.db import IntegrityError, OperationalError, ProgrammingError
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.gate.admission import GateUnavailable
from coupons.models import Coupon
from coupons.operations import resetting, seeding, surroundings
from coupons.operations.resetting import History
from coupons.operations.seeding import Seeded, Tally
from runtime.arguments import whole_number
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

_MOST: Final = 100_000_000  #: of each kind of row: a typing error must not fill the disk
_MOST_NAMED: Final = 10  #: coupons that a line names
_WORTH_A_RATE: Final = 10_000  #: of fewer rows, the time says nothing about rows a second


class Command(OperatorCommand):
    help = (
        f"Make users testuser1, testuser2, ... with {seeding.POINTS} points each, and open coupons. "
        "Rows that exist are left as they are, a coupon's live stock above all."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        number = whole_number(1, _MOST)
        for option, default, text in (
            ("--users", 3, "users 1 to N"),
            ("--coupons", 1, "coupons 1 to N"),
            ("--stock", 100, "stock of each new or reset coupon"),
        ):
            parser.add_argument(
                option, type=number, default=default, metavar="N", help=f"{text} (default %(default)s)"
            )
        parser.add_argument(
            "--reset",
            action="store_true",
            help="set these coupons back: DELETES who has them and what became of every request, "
            "opens them, sets the stock afresh",
        )
        parser.add_argument("--yes", action="store_true", help="with --reset: do not ask")
        parser.add_argument(
            "--force", action="store_true", help="with --reset: also while requests are under way"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done; write nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["yes"] or options["force"]) and not options["reset"]:
            raise CommandError(say("--yes and --force go with --reset"))
        surroundings.refuse()
        try:
            self._run(**options)
        except IntegrityError as error:
            raise CommandError(
                say(
                    "somebody else is writing the same rows ({error}): run seed again, it goes on from here",
                    error=error,
                )
            ) from error
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(
                say(
                    "the database refused: {error}. Is it the one of DATABASE_URL, is it up, and "
                    "did `python manage.py migrate` run?",
                    error=error,
                )
            ) from error

    def _run(
        self, *, users: int, coupons: int, stock: int, reset: bool, dry_run: bool, **options: Any
    ) -> None:
        started = time.monotonic()
        was_reset = None
        if reset:
            was_reset = self._reset(last_id=coupons, stock=stock, dry_run=dry_run, **options)
        quiet = options["json"] or options["verbosity"] == 0
        # disable=None: no bar if standard error is not a terminal
        with tqdm(total=users + coupons, unit=say(" rows"), leave=False, disable=quiet or None) as bar:
            seeded = seeding.seed(
                users=users, coupons=coupons, stock=stock, dry_run=dry_run, on_progress=bar.update
            )
        seconds = time.monotonic() - started
        if options["json"]:
            summary = {
                **asdict(seeded),
                "reset": asdict(was_reset) if was_reset else None,
                "dry_run": dry_run,
                "seconds": round(seconds, 3),
            }
            self.stdout.write(json.dumps(summary))
        elif not quiet:
            self._say(seeded, users=users, coupons=coupons, stock=stock, dry_run=dry_run, seconds=seconds)

    def _reset(
        self, *, last_id: int, stock: int, dry_run: bool, yes: bool, force: bool, **options: Any
    ) -> History:
        coupon_ids = resetting.coupons_up_to(last_id)
        history = resetting.history(coupon_ids)
        if not coupon_ids:
            return history
        self._refuse_under_way(coupon_ids, force=force)
        what = say(
            "{named}: {user_coupons} user coupons and {outcomes} outcomes deleted, opened "
            "with a stock of {stock}",
            named=_named(coupon_ids),
            user_coupons=history.user_coupons,
            outcomes=history.outcomes,
            stock=stock,
        )
        if dry_run:
            if not options["json"]:
                self.stdout.write(say("would reset {what}", what=what))
            return history
        if not yes:
            self._ask(what, may_ask=sys.stdin.isatty() and not options["json"])
        done = History()
        for coupon_id in coupon_ids:
            done += resetting.reset(coupon_id, stock=stock)
        self._forget(coupon_ids)
        if not options["json"] and options["verbosity"] > 0:
            self.stdout.write(say("reset {what}", what=what))
        return done

    def _refuse_under_way(self, coupon_ids: list[int], *, force: bool) -> None:
        try:
            counts = resetting.under_way(coupon_ids)
        except LogUnavailable as error:
            self.stderr.write(
                say(
                    "warning: neither Redis nor Kafka could say whether requests are under way "
                    "({error}); those that are will be decided on the reset coupon",
                    error=say(str(error)),
                )
            )
            return
        if not counts:
            return
        text = say(
            "{number} requests are under way for {named}",
            number=sum(counts.values()),
            named=_named(list(counts)),
        )
        if Coupon.objects.filter(pk__in=list(counts), deferred_count__gt=0).exists():
            text += say(" (those whose deciding is paused are deleted with the coupon's history)")
        if not force:
            raise CommandError(
                say(
                    "{text}. Wait until the consumer has decided them (GET "
                    "/api/coupons/{coupon_id}/queue-size says 0), or add --force: then they are "
                    "decided on the reset coupon.",
                    text=text,
                    coupon_id=min(counts),
                )
            )
        self.stderr.write(say("warning: {text}; they will be decided on the reset coupon", text=text))

    def _ask(self, what: str, *, may_ask: bool) -> None:
        if not may_ask:
            raise CommandError(
                say("--reset destroys data ({what}): add --yes to do it, or --dry-run to look", what=what)
            )
        self.stdout.write(say("--reset destroys data. {what}.", what=what))
        if input(say("Type yes to go on: ")).strip().lower() != "yes":
            raise CommandError(say("nothing was changed"))

    def _forget(self, coupon_ids: list[int]) -> None:
        try:
            for coupon_id in coupon_ids:
                resetting.forget(coupon_id)
        except GateUnavailable as error:
            self.stderr.write(
                say(
                    "warning: Redis does not answer at REDIS_URL ({error}). Who won in the last two"
                    " minutes may be told ALREADY_REQUESTED that long; the rest comes right by "
                    "itself.",
                    error=say(str(error)),
                )
            )

    def _say(
        self, seeded: Seeded, *, users: int, coupons: int, stock: int, dry_run: bool, seconds: float
    ) -> None:
        def line(what: str, tally: Tally) -> None:
            counts = {"what": what, "made": tally.made, "existing": tally.existing}
            self.stdout.write(
                say("{what}: {made} would be made, {existing} already there", **counts)
                if dry_run
                else say("{what}: {made} made, {existing} already there", **counts)
            )

        line(say("users 1 to {users}", users=users), seeded.users)
        line(say("points of these users, {points} each", points=seeding.POINTS), seeded.points)
        line(say("coupons 1 to {coupons}, stock {stock} each", coupons=coupons, stock=stock), seeded.coupons)
        if seeded.coupons.existing and not dry_run:
            self._say_existing(coupons)
        made = seeded.users.made + seeded.points.made + seeded.coupons.made
        if made >= _WORTH_A_RATE and not dry_run:
            self.stdout.write(
                say(
                    "{made} rows in {seconds:.1f} s, {rate:.0f} rows/s",
                    made=made,
                    seconds=seconds,
                    rate=made / seconds,
                )
            )

    def _say_existing(self, last_id: int) -> None:
        """Print the coupons as they are, for a reader who expected another stock."""
        for coupon in Coupon.objects.filter(pk__range=(1, last_id)).order_by("pk")[:_MOST_NAMED]:
            self.stdout.write(
                "  "
                + say(
                    "coupon {coupon_id}: {status}, {stock} left, {issued_count} issued",
                    coupon_id=coupon.pk,
                    status=coupon.coupon_status,
                    stock=coupon.stock,
                    issued_count=coupon.issued_count,
                )
            )


def _named(coupon_ids: list[int]) -> str:
    if len(coupon_ids) == 1:
        return say("coupon {coupon_id}", coupon_id=coupon_ids[0])
    shown = ", ".join(map(str, coupon_ids[:_MOST_NAMED]))
    return (
        say("coupons {shown}", shown=shown)
        if len(coupon_ids) <= _MOST_NAMED
        else say("{count} coupons ({shown}, ...)", count=len(coupon_ids), shown=shown)
    )
