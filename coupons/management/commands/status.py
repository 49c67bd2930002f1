"""Show the system on one screen."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import connection

from coupons.operations import status, surroundings
from coupons.operations.status import Status

_CLEAR: Final = "\x1b[H\x1b[2J"  #: the screen of a terminal


class Command(BaseCommand):
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
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 3600")
    return seconds


def _lines(found: Status) -> Iterator[str]:
    for line in found.wrong:
        yield f"WRONG  {line}"
    yield from _topic(found)
    yield from _positions(found)
    yield from _group(found)
    yield from _workers(found)
    if (coupons := found.coupons) is not None:
        yield ""
        yield (
            f"coupons: {coupons.opened:,} open, {coupons.closed:,} closed, {coupons.issued:,} issued, "
            f"{coupons.stock:,} left"
        )
    for each in found.deferring or ():
        yield f"deciding of coupon {each.coupon_id}: {each.told()}"
    if found.dead_letters is not None:
        told = ", ".join(
            f"{number:,} {state.lower()}" for state, number in sorted(found.dead_letters.items())
        )
        yield f"dead letters: {told or 'none'}"
    yield from _gates(found)
    if found.locks is not None:
        yield ""
        yield f"locks: {', '.join(f'{each.name} ({each.expires_s:.0f} s)' for each in found.locks) or 'none'}"


def _topic(found: Status) -> Iterator[str]:
    if (topic := found.topic) is None:
        return
    told = ", ".join(f"{name}={value}" for name, value in topic.settings.items())
    size = f"{len(topic.partitions)} partitions, brokers {list(topic.brokers)}"
    yield f"topic {topic.name}: {size} {told}".rstrip()


def _positions(found: Status) -> Iterator[str]:
    if found.positions is None or found.topic is None:
        return
    yield (
        f"{'partition':>9} {'leader':>6} {'in sync':>9} {'first':>12} {'position':>12} {'end':>12} "
        f"{'lag':>10} {'copy':>12}  state"
    )
    for each in found.positions:
        at = found.topic.partitions.get(each.partition)
        leader = "-" if at is None or at.leader is None else str(at.leader)
        in_sync = "-" if at is None else f"{len(at.in_sync)} of {len(at.replicas)}"
        yield (
            f"{each.partition:>9} {leader:>6} {in_sync:>9} {each.first:>12} {_shown(each.next_offset):>12} "
            f"{each.end:>12} {each.undecided:>10} {_shown(each.copy):>12}  {each.state}"
        )
    yield f"lag: {found.lag:,}"


def _group(found: Status) -> Iterator[str]:
    if (group := found.group) is None:
        return
    yield ""
    state = group.state or "the broker does not tell"
    yield f"group {group.group_id}: {state}, {len(group.members)} consumers"
    for each in group.members:
        partitions = ", ".join(map(str, each.partitions)) or "none"
        yield f"  {each.member_id}  {each.host}  partitions {partitions}"


def _workers(found: Status) -> Iterator[str]:
    """The API's, as far as this machine knows: each host or container knows its own."""
    yield ""
    for port, pids in sorted(found.api_workers.items()):
        yield f"API on port {port}: {len(pids)} workers ({', '.join(map(str, pids))})"
    if not found.api_workers:
        yield "API: no workers on this machine"


def _gates(found: Status) -> Iterator[str]:
    if not found.gates:
        return
    yield ""
    yield f"{'gate':>12} {'waiting':>10} {'issued':>12} {'of the row':>12} {'left':>12}"
    for each in found.gates:
        yield (
            f"{each.coupon_id:>12} {each.reserved:>10} {each.issued:>12} "
            f"{_shown(each.issued_in_database):>12} {_shown(each.stock):>12}"
        )


def _shown(number: int | None) -> str:
    return "-" if number is None else str(number)
