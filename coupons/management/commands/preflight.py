"""Is everything as a deployment should have it?"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from tqdm import tqdm

from coupons.operations.preflight import report, running
from coupons.operations.preflight.catalogue import SUBJECTS
from coupons.operations.preflight.findings import Expected, Result
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say


class Command(OperatorCommand):
    help = (
        "Look at settings, this machine, the database, Redis and Kafka as a deployment should have "
        "them, and say of "
        "each: green, note (worth knowing, or not looked at), yellow (works, less well or less "
        "safely), red, with "
        "what mends it. Changes nothing; for the brokers' clocks it makes a topic for a moment, where "
        "it may delete it "
        "again (--read-only: none). Exit code 0: green or note; 4: yellow; 1: red. docs/operations.md"
    )
    requires_system_checks = []  # its own checks tell

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        usual = Expected(consumers=settings.CONFIG.kafka.partitions)
        for name, default, what in (
            ("--users", usual.users, "who claim within an hour"),
            ("--apis", usual.apis, "API processes or pods"),
            ("--consumers", usual.consumers, "consumers"),
        ):
            parser.add_argument(
                name, type=_positive, default=default, metavar="N", help=f"{what} (default %(default)s)"
            )
        parser.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="NAME",
            help="this alone: settings, machine, database, redis, kafka, or one check as redis.memory; "
            "repeatable, "
            "or with commas",
        )
        parser.add_argument("--read-only", action="store_true", help="make no topic for the brokers' clocks")
        parser.add_argument("--red-only", action="store_true", help="exit with 0 unless something is red")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--timeout",
            type=_positive,
            default=int(running.PATIENCE_S),
            metavar="S",
            help="for a server that hangs (default %(default)s)",
        )

    def handle(self, *args: Any, users: int, apis: int, consumers: int, timeout: int, **options: Any) -> None:
        expected = Expected(users=users, apis=apis, consumers=consumers, may_write=not options["read_only"])
        only = _chosen(options["only"])
        coloured = self._coloured(options)
        results: list[Result] = []
        quiet = options["json"] or not sys.stderr.isatty()
        total = len(running.chosen(SUBJECTS, only))
        bar = tqdm(total=total, desc="preflight", unit=say(" subjects"), leave=False, disable=quiet)
        with bar, _silent_clients():
            for found in running.look(SUBJECTS, expected, only=only, patience_s=timeout):
                results += found
                bar.update()
                if not options["json"]:
                    bar.clear()
                    for result in found:
                        self.stdout.write(report.line(result, coloured=coloured))
                    bar.refresh()
        if options["json"]:
            told = report.as_json(results, red_only=options["red_only"])
            self.stdout.write(json.dumps(told, ensure_ascii=False))
        else:
            self.stdout.write(report.summary(results))
        if code := report.exit_code(report.worst(results), red_only=options["red_only"]):
            sys.exit(code)

    def _coloured(self, options: dict[str, Any]) -> bool:
        """Only on a terminal, and not where the operator wants none."""
        wanted = options["force_color"] or (self.stdout.isatty() and not os.environ.get("NO_COLOR"))
        return wanted and not options["no_color"]


@contextmanager
def _silent_clients() -> Iterator[None]:
    """The findings say what the clients' own lines would."""
    logs = [logging.getLogger(name) for name in ("coupons.librdkafka", "coupons.redis")]
    before = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.CRITICAL)
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def _chosen(given: list[str]) -> list[str]:
    known = running.names(SUBJECTS)
    chosen = [name.strip() for each in given for name in each.split(",") if name.strip()]
    if given and not chosen:
        raise CommandError(say("--only names no check. There are {names}", names=", ".join(known)))
    for name in chosen:
        if name not in known:
            raise CommandError(
                say(
                    "--only {name}: there is no such check. There are {names}",
                    name=name,
                    names=", ".join(known),
                )
            )
    return chosen


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000_000:
        raise argparse.ArgumentTypeError(say("{text} is no whole number from 1 to 1,000,000,000", text=text))
    return int(text)
