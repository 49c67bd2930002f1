"""Mend the gates from the database and the log."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError
from tqdm import tqdm

from coupons.eventlog.backlog import LogUnavailable
from coupons.gate.admission import GateUnavailable
from coupons.operations import surroundings
from coupons.operations.reconciling import Mended, reconcile
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

_WAIT_S: Final = 120.0  #: a consumer that runs has caught up long before; the help tells it


class Command(OperatorCommand):
    help = (
        "Mend what may be mended: gates that do not agree with the database are loaded anew from it and the "
        "log; slots whose event was never published are given back. Says what it did. Exit code 1 if "
        "something could not be mended."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what is wrong and change nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            help="for leaked slots (default 120)",
        )

    def handle(self, *args: Any, dry_run: bool, wait: float | None, **options: Any) -> None:
        if dry_run and wait is not None:
            raise CommandError(say("--dry-run waits for nothing: leave out --wait"))
        wait_s = _WAIT_S if wait is None else wait
        surroundings.refuse()
        quiet = options["json"] or not sys.stderr.isatty()
        try:
            with tqdm(desc=say("waiting for the consumer to catch up"), disable=quiet, leave=False) as bar:
                mended = reconcile(dry_run=dry_run, wait_s=wait_s, on_wait=lambda: bar.update())
        except GateUnavailable as error:
            raise CommandError(
                say("Redis does not answer at REDIS_URL: {error}", error=say(str(error)))
            ) from error
        except LogUnavailable as error:
            raise CommandError(
                say("the log cannot be read, without it nothing is mended: {error}", error=say(str(error)))
            ) from error
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(mended, dry_run=dry_run), ensure_ascii=False))
        else:
            self._print(mended, dry_run=dry_run)
        if mended.not_mended:
            sys.exit(1)

    def _print(self, mended: Mended, *, dry_run: bool) -> None:
        for finding in mended.findings:
            self.stdout.write(
                say(
                    "{check}: coupon {coupon_id}: {message}",
                    check=finding.check,
                    coupon_id=finding.coupon_id,
                    message=finding.message,
                )
            )
        for coupon_id in mended.gates_loaded:
            self.stdout.write(
                say("would load the gate of coupon {coupon_id} anew", coupon_id=coupon_id)
                if dry_run
                else say("loaded the gate of coupon {coupon_id} anew", coupon_id=coupon_id)
            )
        for claim in mended.slots_given_back:
            self.stdout.write(
                say(
                    "gave back user {user_id}'s slot of coupon {coupon_id}",
                    user_id=claim.user_id,
                    coupon_id=claim.coupon_id,
                )
            )
        if mended.not_mended:
            self.stderr.write(mended.not_mended)
        if not mended.findings:
            self.stdout.write(say("Redis agrees with the truth: nothing to mend"))


def _as_json(mended: Mended, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dryRun": dry_run,
        "findings": [asdict(finding) for finding in mended.findings],
        "gatesLoaded": mended.gates_loaded,
        "slotsGivenBack": [str(claim.request_id) for claim in mended.slots_given_back],
        "notMended": mended.not_mended,
    }
