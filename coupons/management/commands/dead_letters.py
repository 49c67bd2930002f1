"""Show, replay and discard dead letters."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from django.core.management.base import CommandError
from django.db.models import Count, QuerySet
from tqdm import tqdm

from coupons.eventlog.events import MAX_ID
from coupons.eventlog.producer import close_event_producer
from coupons.models import DeadLetter, DeadLetterState
from coupons.operations import dead_letters, surroundings
from coupons.operations.dead_letters import NotReplayed, Selection
from coupons.outcomes import DeadLetterReason
from runtime import columns
from runtime.operator_command import OperatorCommand
from runtime.operator_language import marked, say

_LISTED: Final = 50  #: a screen of rows; --limit gives others


class Command(OperatorCommand):
    help = "The events that could not be issued: list, show, replay (send again), discard (put aside)."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay|discard")
        listing = actions.add_parser("list", help="those that wait, by reason, newest first")
        listing.add_argument("--all", action="store_true", help="replayed and discarded ones too")
        listing.add_argument(
            "--limit",
            type=_between(0, 1_000_000),
            default=_LISTED,
            help="how many rows (default %(default)s)",
        )
        _add_reason(listing)
        show = actions.add_parser("show", help="one, whole")
        show.add_argument("id", type=_between(1, MAX_ID))
        for name, what in (
            (marked("replay"), "send the original to the event topic again: after the cause was mended"),
            (marked("discard"), "mark as done with; the topic keeps its copy"),
        ):
            action = actions.add_parser(name, help=what)
            action.add_argument("ids", type=_between(1, MAX_ID), nargs="*", metavar="ID", help="these alone")
            _add_reason(action)
            action.add_argument("--all", action="store_true", help="all that wait")
            action.add_argument("--dry-run", action="store_true", help="say what would be done")
            action.add_argument("--yes", action="store_true", help="do not ask")
        for action in actions.choices.values():
            action.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        surroundings.refuse()
        if action == "list":
            self._list(**options)
        elif action == "show":
            self._show(options["id"], as_json=options["json"])
        else:
            self._act(action, **options)

    def _list(self, *, reason: str | None, limit: int, **options: Any) -> None:
        letters = DeadLetter.objects.order_by("-pk")
        if not options["all"]:
            letters = letters.filter(state=DeadLetterState.WAITING)
        if reason:
            letters = letters.filter(reason=reason)
        rows = [_as_json(letter) for letter in letters[:limit]]
        counts = _counts(letters)
        if options["json"]:
            self.stdout.write(json.dumps({"counts": counts, "deadLetters": rows}, ensure_ascii=False))
            return
        for row in rows:
            self.stdout.write(
                f"{row['id']:>8}  {row['state']:9}  {row['reason']:16}  "
                f"{row['topic']}/{row['partition']}/{row['offset']}  {row['error'][:80]}"
            )
        self.stdout.write(", ".join(f"{n} {why}" for why, n in counts.items()) or say("no dead letters wait"))

    def _show(self, pk: int, *, as_json: bool) -> None:
        letter = DeadLetter.objects.filter(pk=pk).first()
        if letter is None:
            raise CommandError(
                say("there is no dead letter {letter}; `dead_letters list --all` lists them", letter=pk)
            )
        shown = _as_json(letter)
        if as_json:
            self.stdout.write(json.dumps(shown, ensure_ascii=False))
            return
        for name, value in shown.items():
            self.stdout.write(f"{columns.left(say(name), 12)} {value}")

    def _act(self, action: str, *, ids: list[int], reason: str | None, **options: Any) -> None:
        if not (ids or reason or options["all"]):
            raise CommandError(say("say which to {action}: ids, --reason, or --all", action=say(action)))
        if options["all"] and (ids or reason):
            raise CommandError(
                say("--all takes each that waits: leave out --all, or leave out the ids and --reason")
            )
        selection = Selection(ids=ids, reason=reason)
        count = selection.waiting().count()
        if missing := len(set(ids)) - count if ids and not reason else 0:
            self.stderr.write(say("{missing} of the ids do not wait (any more)", missing=missing))
        if options["dry_run"] or not count:
            self._print(action, 0, would=count, **options)
            return
        what = say("{action} {count} dead letters", action=say(action), count=count)
        self._confirm(what, yes=options["yes"])
        act = dead_letters.replay if action == "replay" else dead_letters.discard
        try:
            with tqdm(total=count, unit=say(" letters"), disable=not sys.stderr.isatty(), leave=False) as bar:
                done = act(selection, on_progress=bar.update)
        except NotReplayed as error:
            raise CommandError(
                say("{error}: see whether the broker is up, and run the same again", error=error)
            ) from error
        finally:
            close_event_producer()
        self._print(action, done, would=0, **options)

    def _confirm(self, what: str, *, yes: bool) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandError(say("this would {what}: add --yes to do it without asking", what=what))
        if input(say("{what}? [y/N] ", what=what)).strip().lower() not in ("y", "yes"):
            raise CommandError(say("nothing was done"))

    def _print(self, action: str, done: int, *, would: int, **options: Any) -> None:
        if options["json"]:
            shown = {"action": action, "done": done, "wouldDo": would, "dryRun": options["dry_run"]}
            self.stdout.write(json.dumps(shown))
        elif options["dry_run"]:
            self.stdout.write(say("would {action} {count} dead letters", action=say(action), count=would))
        else:
            self.stdout.write(
                say("{count} replayed", count=done)
                if action == "replay"
                else say("{count} discarded", count=done)
            )


def _between(low: int, high: int) -> Callable[[str], int]:
    """A parser for whole numbers in these bounds, which the database can take."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 19 or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                say("{text!r} is no whole number from {low} to {high}", text=text, low=low, high=high)
            )
        return int(text)

    return read


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason", choices=[reason.value for reason in DeadLetterReason], help="those of this reason"
    )


def _counts(letters: QuerySet[DeadLetter]) -> dict[str, int]:
    grouped = letters.order_by().values("reason").annotate(count=Count("pk")).order_by("reason")
    return {row["reason"]: row["count"] for row in grouped}


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        marked("id"): letter.pk,
        marked("state"): letter.state,
        marked("reason"): letter.reason,
        marked("error"): letter.error,
        marked("requestId"): str(letter.request_id) if letter.request_id else None,
        marked("topic"): letter.original_topic,
        marked("partition"): letter.original_partition,
        marked("offset"): letter.original_offset,
        marked("timestamp"): letter.original_timestamp_ms,
        marked("key"): _text(letter.original_key),
        marked("value"): _text(letter.original_value),
        marked("createdAt"): letter.created_at.isoformat(),
    }


def _text(stored: bytes | memoryview | None) -> str | None:
    """Bytes as text to show: broken UTF-8 is escaped, and a long value is cut."""
    return None if stored is None else bytes(stored[:2000]).decode("utf-8", "backslashreplace")
