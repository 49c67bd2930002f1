"""Show the system on one screen."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.db import connection

from coupons.models import DeadLetterState
from coupons.operations import status, surroundings
from coupons.operations.status import Status
from runtime import columns
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

_POSITIONS: Final = (9, 6, 9, 12, 12, 12, 10, 12)  #: widths of columns
_GATES: Final = (12, 10, 12, 12, 12)
_CLEAR: Final = "\x1b[H\x1b[2J"  #: the screen of a terminal


class Command(OperatorCommand):
    help = (
        "The system on one screen: brokers and topic, the group and its consumers, how far each partition is "
        "decided, coupons, dead letters, gates and locks. Reads only. Exit code 1 if something is wrong (it "
        "is named first), 3 if a server does not answer."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--watch",
            type=_seconds,
            nargs="?",
            const=2.0,
            metavar="SECONDS",
            help="look again each 2 s, or so many; Ctrl-C ends it",
        )
        parser.add_argument("--json", action="store_true", help="print JSON, a line for each look")

    def handle(self, *args: Any, watch: float | None, **options: Any) -> None:
        surroundings.refuse()
        while True:
            found = status.look()
            text = json.dumps(found.as_json()) if options["json"] else "\n".join(_lines(found))
            if watch is not None and not options["json"] and sys.stdout.isatty():
                text = f"{_CLEAR}{text}"
            self.stdout.write(text)
            self.stdout.flush()
            if watch is None:
                break
            connection.close()  # a server that went away must not be asked on a dead connection
            try:
                time.sleep(watch)
            except KeyboardInterrupt:
                return
        if found.away:
            sys.exit(3)
        if found.wrong:
            sys.exit(1)


def _seconds(text: str) -> float:
    seconds = float(text) if text.replace(".", "", 1).isdigit() else 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(say("{text!r} is no number of seconds from 0.1 to 3600", text=text))
    return seconds


def _lines(found: Status) -> Iterator[str]:
    for line in found.wrong:
        yield say("WRONG  {line}", line=line)
    yield from _topic(found)
    yield from _positions(found)
    yield from _group(found)
    yield from _workers(found)
    if (coupons := found.coupons) is not None:
        yield ""
        yield (
            say(
                "coupons: {opened:,} open, {closed:,} closed, {issued:,} issued, {stock:,} left",
                opened=coupons.opened,
                closed=coupons.closed,
                issued=coupons.issued,
                stock=coupons.stock,
            )
        )
    for each in found.deferring or ():
        yield say("deciding of coupon {coupon_id}: {told}", coupon_id=each.coupon_id, told=each.told())
    if found.dead_letters is not None:
        told = ", ".join(letters(found.dead_letters))
        yield say("dead letters: {told}", told=told or say("none"))
    yield from _gates(found)
    if found.locks is not None:
        yield ""
        told = ", ".join(f"{each.name} ({each.expires_s:.0f} s)" for each in found.locks)
        yield say("locks: {told}", told=told or say("none"))


def letters(numbers: Mapping[str, int]) -> Iterator[str]:
    """A state that this release does not know, of a newer one or changed by hand, is shown as it is."""
    for state, number in sorted(numbers.items()):
        label = DeadLetterState(state).label.lower() if state in DeadLetterState.values else state
        yield say("{number:,} {state}", number=number, state=label)


def _topic(found: Status) -> Iterator[str]:
    if (topic := found.topic) is None:
        return
    told = ", ".join(f"{name}={value}" for name, value in topic.settings.items())
    size = say(
        "{count} partitions, brokers {brokers}", count=len(topic.partitions), brokers=list(topic.brokers)
    )
    yield say("topic {name}: {size} {told}", name=topic.name, size=size, told=told).rstrip()


def _positions(found: Status) -> Iterator[str]:
    if found.positions is None or found.topic is None:
        return
    heads = (
        *(say("partition"), say("leader"), say("in sync"), say("first")),
        *(say("position"), say("end"), say("lag"), say("copy")),
    )
    yield f"{columns.row(_POSITIONS, *heads)}  {say('state')}"
    for each in found.positions:
        at = found.topic.partitions.get(each.partition)
        leader = "-" if at is None or at.leader is None else str(at.leader)
        in_sync = "-" if at is None else say("{some} of {all}", some=len(at.in_sync), all=len(at.replicas))
        position, copy = _shown(each.next_offset), _shown(each.copy)
        cells = each.partition, leader, in_sync, each.first, position, each.end, each.undecided, copy
        yield f"{columns.row(_POSITIONS, *cells)}  {each.state}"
    yield say("lag: {lag:,}", lag=found.lag)


def _group(found: Status) -> Iterator[str]:
    if (group := found.group) is None:
        return
    yield ""
    state = group.state or say("the broker does not tell")
    yield say(
        "group {group_id}: {state}, {count} consumers",
        group_id=group.group_id,
        state=state,
        count=len(group.members),
    )
    for each in group.members:
        partitions = ", ".join(map(str, each.partitions)) or say("none")
        yield "  " + say(
            "{member}  {host}  partitions {partitions}",
            member=each.member_id,
            host=each.host,
            partitions=partitions,
        )


def _workers(found: Status) -> Iterator[str]:
    """The API's, as far as this machine knows: each host or container knows its own."""
    yield ""
    for port, pids in sorted(found.api_workers.items()):
        yield say(
            "API on port {port}: {count} workers ({names})",
            port=port,
            count=len(pids),
            names=", ".join(map(str, pids)),
        )
    if not found.api_workers:
        yield say("API: no workers on this machine")


def _gates(found: Status) -> Iterator[str]:
    if not found.gates:
        return
    yield ""
    heads = say("gate"), say("waiting"), say("issued"), say("of the row"), say("left")
    yield columns.row(_GATES, *heads)
    for each in found.gates:
        issued, left = _shown(each.issued_in_database), _shown(each.stock)
        yield columns.row(_GATES, each.coupon_id, each.reserved, each.issued, issued, left)


def _shown(number: int | None) -> str:
    return "-" if number is None else str(number)
