"""Print a coupon's winners."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError
from tqdm import tqdm

from coupons.models import Coupon
from coupons.operations import surroundings, winners
from coupons.operations.winners import Winner
from runtime.arguments import whole_number
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say


class Command(OperatorCommand):
    help = (
        "Print a coupon's winners in the order of their ranks, as CSV: rank, user, when they asked and when "
        "they got it. Reads alone. Coupons that another application issued (`adopt`) have no ranks and are "
        "not listed."
    )

    prints_for_programs = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--coupon", type=whole_number(1, 2**63 - 1), required=True, help="the coupon's id"
        )
        parser.add_argument("--json", action="store_true", help="print JSON, a line for each winner")

    def handle(self, *args: Any, **options: Any) -> None:
        surroundings.refuse()
        coupon = Coupon.objects.filter(pk=options["coupon"]).first()
        if coupon is None:
            raise CommandError(say("there is no coupon {coupon}", coupon=options["coupon"]))
        found = _shown(winners.of(coupon), of=winners.count(coupon))
        lines = map(_as_json, found) if options["json"] else winners.as_csv(found)
        try:
            for line in lines:
                self.stdout.write(line.rstrip("\r\n"))
        except UnicodeEncodeError as error:  # winners with other names than theirs are worse than none
            raise CommandError(
                say(
                    "standard output is {encoding}, and {text!r} is not in it: set PYTHONIOENCODING=utf-8",
                    encoding=error.encoding,
                    text=error.object[error.start : error.end],
                )
            ) from error


def _shown(found: Iterator[Winner], *, of: int) -> Iterator[Winner]:
    """With a progress bar, where somebody watches and the rows go elsewhere."""
    is_hidden = not sys.stderr.isatty() or sys.stdout.isatty()
    return iter(tqdm(found, total=of, unit=say(" winners"), disable=is_hidden, leave=False))


def _as_json(winner: Winner) -> str:
    return json.dumps(asdict(winner), ensure_ascii=False, default=str)
