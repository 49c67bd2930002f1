"""Show the positions in the log, and move them where only an operator may."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from django.core.management.base import CommandError

from coupons.eventlog import log_state
from coupons.eventlog.events import MAX_ID
from coupons.eventlog.log_reader import LogUnavailable
from coupons.eventlog.log_state import PartitionState, State
from coupons.eventlog.place import NextOffset
from runtime import columns
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

_WIDTHS: Final = (9, 12, 12, 12, 10, 12)


class Command(OperatorCommand):
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
            raise CommandError(say("the log cannot be read: {error}", error=say(str(error)))) from error
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
                lambda each: say(
                    "decide again from offset {to}, now at {now}",
                    to=_earliest(each, to),
                    now=_next(each),
                ),
                lambda each: log_state.go_back(each, to=_earliest(each, to)),
                **options,
            )

    def _show(self, found: Sequence[PartitionState], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps([_as_json(each) for each in found]))
        else:
            heads = say("partition"), say("first"), say("next"), say("end"), say("undecided"), say("copy")
            self.stdout.write(f"{columns.row(_WIDTHS, *heads)}  {say('state')}")
            for each in found:
                at = _shown(each.next_offset)
                cells = each.partition, each.first, at, each.end, each.undecided, _shown(each.copy)
                self.stdout.write(f"{columns.row(_WIDTHS, *cells)}  {each.state}")
            for each in found:
                if each.state.is_a_loss:
                    self.stderr.write(
                        say(
                            "partition {partition} stands still: {loss}",
                            partition=each.partition,
                            loss=_loss(each),
                        )
                    )
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
                line = say("partition {partition}: {text}", partition=partition, text=text)
                self.stdout.write(say("would: {what}", what=line) if options["dry_run"] else line)
            if not chosen:
                self.stdout.write(say("nothing to do"))
        if chosen and not options["dry_run"]:
            self._confirm(
                say("move the position of partitions {partitions}", partitions=sorted(shown)), **options
            )
            for each in chosen:
                act(each)
        if options["json"]:
            self.stdout.write(json.dumps({"dryRun": options["dry_run"], "partitions": shown}))
        elif chosen and not options["dry_run"]:
            self.stdout.write(say("done"))

    def _confirm(self, what: str, *, yes: bool, **options: Any) -> None:
        if yes:
            return
        if not sys.stdin.isatty() or options["json"]:
            raise CommandError(
                say("this would {what}: add --yes to do it without asking, or --dry-run to look", what=what)
            )
        if input(say("{what}? [y/N] ", what=what)).strip().lower() not in ("y", "yes"):
            raise CommandError(say("nothing was done"))


def _chosen(found: Sequence[PartitionState], partition: int | None) -> list[PartitionState]:
    chosen = [each for each in found if partition in (None, each.partition)]
    if not chosen:
        raise CommandError(
            say(
                "there is no partition {partition}: the topic has {count}, from 0",
                partition=partition,
                count=len(found),
            )
        )
    return chosen


def _next(each: PartitionState) -> int:
    return each.end if each.next_offset is None else each.next_offset


def _earliest(each: PartitionState, to: int) -> NextOffset:
    return NextOffset(max(each.first, to))


def _loss(each: PartitionState) -> str:
    if each.state is State.BEHIND_THE_LOG:
        return say(
            "offsets {first} to {last} were deleted before they were decided; go on at {next}",
            first=each.next_offset,
            last=each.first - 1,
            next=each.first,
        )
    return say(
        "decided up to offset {offset}, and the log ended at {lost_end}; go on at {next}, where it goes on",
        offset=each.next_offset,
        lost_end=each.lost_end,
        next=each.after_the_loss.next_offset,
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
        raise argparse.ArgumentTypeError(
            say("{text!r} is no whole number from 0 to {most}", text=text, most=most)
        )
    return int(text)


_offset = partial(_number, most=MAX_ID)
