"""Show the positions in the log, and move them where only an operator may."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from coupons.eventlog import log_state
from coupons.eventlog.events import MAX_ID
from coupons.eventlog.log_reader import LogUnavailable
from coupons.eventlog.log_state import PartitionState, State
from coupons.eventlog.place import NextOffset


class Command(BaseCommand):
    help = (
        "How far the log is decided: rows of the database, moved with each decision. show: compare them with "
        "the log. accept-loss: go on although events were deleted before they were decided. back: decide "
        "again from an offset, which changes nothing that has an outcome. A running consumer follows within "
        "a second."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="show|accept-loss|back")
        show = actions.add_parser("show", help="each partition's offsets; exit code 1 if one cannot go on")
        accept = actions.add_parser(
            "accept-loss",
            help="partitions that stand still go on behind what the log does not have any more; requests "
            "that were accepted and lost are shown FAILED, EVENT_LOST as far as they are known",
        )
        back = actions.add_parser("back", help="decide again from an offset on")
        back.add_argument(
            "--to",
            type=_offset,
            default=0,
            metavar="OFFSET",
            help="at the earliest the log's first (default 0)",
        )
        for action in (accept, back):
            action.add_argument("--partition", type=_offset, metavar="N", help="this one alone")
            action.add_argument("--dry-run", action="store_true", help="say what would be done")
            action.add_argument("--yes", action="store_true", help="do not ask")
        for action in (show, accept, back):
            action.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            found = log_state.look()
        except LogUnavailable as error:
            raise CommandError(f"the log cannot be read: {error}") from error
        if action == "show":
            self._show(found, as_json=options["json"])
        elif action == "accept-loss":
            losing = [each for each in _chosen(found, options["partition"]) if each.state.is_a_loss]
            self._move(losing, _loss, log_state.accept_loss, **options)
        else:
            to = options["to"]
            going = [
                each for each in _chosen(found, options["partition"]) if _earliest(each, to) < _next(each)
            ]
            self._move(
                going,
                lambda each: f"decide again from offset {_earliest(each, to)}, now at {_next(each)}",
                lambda each: log_state.go_back(each, to=_earliest(each, to)),
                **options,
            )

    def _show(self, found: Sequence[PartitionState], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps([_as_json(each) for each in found]))
        else:
            self.stdout.write(
                f"{'partition':>9} {'first':>12} {'next':>12} {'end':>12} {'undecided':>10} "
                f"{'copy':>12}  state"
            )
            for each in found:
                self.stdout.write(
                    f"{each.partition:>9} {each.first:>12} {_shown(each.next_offset):>12} {each.end:>12} "
                    f"{each.undecided:>10} {_shown(each.copy):>12}  {each.state}"
                )
            for each in found:
                if each.state.is_a_loss:
                    self.stderr.write(f"partition {each.partition} stands still: {_loss(each)}")
        if any(each.state.is_a_loss for each in found):
            sys.exit(1)

    def _move(
        self,
        chosen: Sequence[PartitionState],
        what: Callable[[PartitionState], str],
        act: Callable[[PartitionState], None],
        **options: Any,
    ) -> None:
        shown = {each.partition: what(each) for each in chosen}
        if not options["json"]:
            for partition, text in shown.items():
                self.stdout.write(f"{'would: ' if options['dry_run'] else ''}partition {partition}: {text}")
            if not chosen:
                self.stdout.write("nothing to do")
        if chosen and not options["dry_run"]:
            self._confirm(f"move the position of partitions {sorted(shown)}", **options)
            for each in chosen:
                act(each)
        if options["json"]:
            self.stdout.write(json.dumps({"dryRun": options["dry_run"], "partitions": shown}))
        elif chosen and not options["dry_run"]:
            self.stdout.write("done")

    def _confirm(self, what: str, *, yes: bool, **options: Any) -> None:
        if yes:
            return
        if not sys.stdin.isatty() or options["json"]:
            raise CommandError(f"this would {what}: add --yes to do it without asking, or --dry-run to look")
        if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was done")


def _chosen(found: Sequence[PartitionState], partition: int | None) -> list[PartitionState]:
    chosen = [each for each in found if partition in (None, each.partition)]
    if not chosen:
        raise CommandError(f"there is no partition {partition}: the topic has {len(found)}, from 0")
    return chosen


def _next(each: PartitionState) -> int:
    return each.end if each.next_offset is None else each.next_offset


def _earliest(each: PartitionState, to: int) -> NextOffset:
    return NextOffset(max(each.first, to))


def _loss(each: PartitionState) -> str:
    if each.state is State.BEHIND_THE_LOG:
        return (
            f"offsets {each.next_offset} to {each.first - 1} were deleted before they were decided; "
            f"go on at {each.first}"
        )
    return (
        f"decided up to offset {each.next_offset}, and the log ended at {each.lost_end}; go on at "
        f"{each.after_the_loss.next_offset}, where it goes on"
    )


def _shown(offset: int | None) -> str:
    return "-" if offset is None else str(offset)


def _as_json(each: PartitionState) -> dict[str, Any]:
    shown = asdict(each)
    return {
        "partition": shown["partition"],
        "topicId": shown["topic_id"],
        "first": shown["first"],
        "nextOffset": shown["next_offset"],
        "end": shown["end"],
        "undecided": each.undecided,
        "copy": shown["copy"],
        "state": each.state.value,
    }


def _number(text: str, *, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > most:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {most}")
    return int(text)


_offset = partial(_number, most=MAX_ID)
