"""Steer one event: what the buttons of its page do, with the same care, for whoever has a shell alone."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from coupons.admin.events import words
from coupons.eventlog.events import MAX_ID
from coupons.models import Coupon
from coupons.operations import steering, stock, surroundings
from coupons.operations.steering import NotPossible, Outlook, Step, WrongPhase
from coupons.outcomes import SteeringAction as Action
from runtime.arguments import whole_number
from runtime.config.language import Language
from runtime.operator_command import OperatorCommand
from runtime.operator_language import language, say

#: What is done to one event; dead letters and rehearsals have commands of their own.
_ACTIONS = [
    action
    for action in Action
    if action not in (Action.REPLAY_LETTERS, Action.DISCARD_LETTERS, Action.REMOVE_REHEARSAL)
]


class Command(OperatorCommand):
    help = (
        "Open, pause, stop or change one event. Says first what the step leads to, and asks. It is written "
        "down with who and why. pause-deciding leaves this coupon's requests undecided, in their order, "
        "while all others are decided; resume-deciding decides them."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("action", choices=[_word(action) for action in _ACTIONS])
        parser.add_argument("--coupon", type=whole_number(1, MAX_ID), required=True, metavar="ID")
        parser.add_argument("--why", required=True, help="kept with your name")
        parser.add_argument("--who", default=getpass.getuser(), help="your name (default %(default)s)")
        parser.add_argument("--amount", type=int, default=0, help="of change-stock: 50 adds, -20 takes")
        parser.add_argument("--opens-at", type=_moment, help="of change-window; without it: no start")
        parser.add_argument("--closes-at", type=_moment, help="of change-window; without it: no end")
        parser.add_argument("--dry-run", action="store_true", help="say what it leads to and do nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        surroundings.refuse()
        action = Action(options["action"].replace("-", "_").upper())
        _refuse_odd(action, options)
        try:
            coupon = Coupon.objects.get(pk=options["coupon"])
            outlook = steering.outlook(coupon, action)
            if not options["json"]:
                self.stdout.write(f"{coupon}: {_consequence(outlook)}")
            if options["dry_run"]:
                self._print(outlook, done=False, **options)
                return
            _confirm(_named(action), yes=options["yes"])
            steering.take(_step(action, outlook, options), coupon_id=coupon.pk)
        except Coupon.DoesNotExist as error:
            raise CommandError(say("there is no coupon {coupon}", coupon=options["coupon"])) from error
        except WrongPhase as error:
            raise CommandError(_refused(error)) from error
        except (NotPossible, stock.StockOutOfRange) as error:
            raise CommandError(str(error)) from error
        self._print(outlook, done=True, **options)

    def _print(self, outlook: Outlook, *, done: bool, **options: Any) -> None:
        if options["json"]:
            told = {
                "coupon": options["coupon"],
                "action": outlook.action.value,
                "phase": outlook.phase.value,
                "consequence": _consequence(outlook),
                "waiting": outlook.waiting,
                "deferred": outlook.deferred,
                "done": done,
            }
            self.stdout.write(json.dumps(told))
        elif done:
            self.stdout.write(say("done"))


def _word(action: Action) -> str:
    return action.value.lower().replace("_", "-")


def _named(action: Action) -> str:
    """As the event's page names it; in English as it was typed."""
    return str(words.ACTIONS[action]) if language() is Language.KOREAN else _word(action)


def _refused(error: WrongPhase) -> str:
    """In the words of the event's page; in English in codes, as --json has them."""
    if language() is not Language.KOREAN:
        return str(error)
    return error.told(action=str(words.ACTIONS[error.action]), phase=words.phase(error.phase))


def _moment(text: str) -> datetime:
    """The time; one without a zone is of the zone of the admin's forms."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise argparse.ArgumentTypeError(say("{text!r} is no time such as '2030-12-01 20:00:00'", text=text))
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _refuse_odd(action: Action, options: dict[str, Any]) -> None:
    if (action is Action.CHANGE_STOCK) != bool(options["amount"]):
        raise CommandError(say("change-stock takes --amount, which is not 0, and nothing else does"))
    if action is not Action.CHANGE_WINDOW and (options["opens_at"] or options["closes_at"]):
        raise CommandError(say("--opens-at and --closes-at go with change-window"))
    if not options["why"].strip() or len(options["why"]) > 255:
        raise CommandError(say("--why must say why, in 255 characters at most"))


def _step(action: Action, outlook: Outlook, options: dict[str, Any]) -> Step:
    return Step(
        action=action,
        who=options["who"][:150],
        why=options["why"],
        seen=outlook.seen,
        amount=options["amount"],
        opens_at=options["opens_at"],
        closes_at=options["closes_at"],
    )


def _consequence(outlook: Outlook) -> str:
    return words.consequence(outlook, ends_at=outlook.ends_at.isoformat(timespec="seconds"))


def _confirm(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(say("this would {what}: add --yes to do it without asking", what=what))
    if input(say("{what}? [y/N] ", what=what)).strip().lower() not in ("y", "yes"):
        raise CommandError(say("nothing was changed"))
