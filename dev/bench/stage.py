"""The system of one measurement: empty tables, a topic of its own, processes as they ship."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from django.db import connection
from django_redis import get_redis_connection

from dev import suite, topics
from dev.bench import database, wrk
from dev.bench.crowd import Plan
from dev.bench.run import Run, Users
from dev.bench.wrk import Counted
from dev.processes import Process, ProcessFailed
from tests.system import System, eventually

_VERIFY_S: Final = 1200.0
_SETTLE_S: Final = 300.0
_WARM_COUPONS: Final = 30  #: on all partitions


@dataclass(slots=True, kw_only=True)
class Stage:
    run: Run
    system: System
    _ended: ExitStack

    def start_api(self) -> Process:
        return self.start(self.system.api).wait_ready()

    def start_api_before(self, **settings: str) -> Process:
        """Of the other checkout, beside ours and on the same topic."""
        return self.start(self._from_before(self.system.new_api(**settings))).wait_ready()

    def start_consumer(self, *words: str, before: bool = False) -> Process:
        """Ours, or the one of the other checkout."""
        consumer = self.system.new_consumer(*words)
        self.system.consumers.append(self._from_before(consumer) if before else consumer)
        return self.start(consumer).wait_ready()

    def start(self, process: Process) -> Process:
        process.start()
        self._ended.callback(stop, process)
        return process

    def _from_before(self, process: Process) -> Process:
        if self.run.before is None:
            raise RuntimeError("no other checkout was named: --before DIR")
        process.folder = self.run.before
        return process

    def load(
        self,
        *coupon_ids: int,
        seconds: int,
        connections: int = wrk.CONNECTIONS,
        api: Process | None = None,
        tickets: Path | None = None,
    ) -> Counted:
        """So many seconds of claims by new users, on one coupon after the other."""
        counted = wrk.run(
            port=(api or self.system.api).port,
            heads=[claim_path(coupon_id) for coupon_id in coupon_ids],
            first_user=self.run.users.next,
            seconds=seconds,
            connections=connections,
            tickets=tickets,
        )
        self.run.users.take(counted.used)
        return counted

    def plan(
        self,
        coupon_ids: Sequence[int],
        count: int,
        *,
        limit_s: float,
        connections: int = wrk.CONNECTIONS,
        per_s: float | None = None,
    ) -> Plan:
        """So many claims exactly, by new users, on one coupon after the other."""
        return Plan(
            port=self.system.api.port,
            heads=[claim_path(coupon_id) for coupon_id in coupon_ids],
            first_user=self.run.users.take(count).start,
            count=count,
            connections=connections,
            limit_s=limit_s,
            per_s=per_s,
        )

    def wait_decided(self, *coupon_ids: int) -> None:
        """Wait until everything that was accepted is decided, so that it does not disturb what follows."""
        time.sleep(0.2)  # wrk hangs up on the last claims: let them be answered

        def is_settled(coupon_id: int) -> bool:
            answer = self.system.get(f"/api/coupons/{coupon_id}/queue-size")
            return answer.status == 200 and answer.body["queueSize"] == 0

        for each in coupon_ids:
            eventually(
                partial(is_settled, each),
                within_s=_SETTLE_S,
                what=lambda: f"some of {coupon_ids} is not decided",
            )

    def pids(self) -> dict[str, int]:
        """Main processes of everything that works on claims."""
        ours = [("api", self.system.api)] + [("consumer", each) for each in self.system.consumers]
        return self.run.services.pids() | {name: each.pid for name, each in ours if each.was_started}

    def verify(self, coupon_id: int | None = None, *, from_topic: bool = True) -> list[str]:
        """What ``manage.py verify`` finds wrong; empty if it is clean."""
        words = ["--coupon", str(coupon_id)] if coupon_id is not None else []
        words += ["--from-topic"] if from_topic else []
        return suite.verified(self.system, *words, within_s=_VERIFY_S)


@contextmanager
def staged(run: Run) -> Iterator[Stage]:
    """Everything that is started on the stage is stopped at its end; the topics go too.

    Users may claim who did so on an earlier stage: nothing that is left knows them.
    """
    connection.close()
    run.users = Users(run.scale.users)
    database.empty()
    get_redis_connection("default").flushall()
    with topics.own_topic(f"bench-{uuid4().hex[:8]}") as topic, ExitStack() as ended:
        ended.callback(topics.delete, topic, f"{topic}.DLT")
        yield Stage(run=run, system=System(topic=topic, consumers=0), _ended=ended)


def warm_broker(run: Run) -> None:
    """Claims on many coupons, decided meanwhile, until the broker's code is compiled.

    It begins interpreted, and its compiler works on the cores that are to be measured.
    """
    with staged(run) as stage:
        stage.start_api()
        stage.start_consumer()
        coupon_ids = database.make_coupons(_WARM_COUPONS, stock=run.scale.users)
        stage.load(*coupon_ids, seconds=run.scale.broker_warm_s)
        stage.wait_decided(*coupon_ids)


def claim_path(coupon_id: int) -> str:
    return f"/api/coupons/{coupon_id}/issue?userId="


def stop(process: Process) -> None:
    """SIGTERM, so that it leaves nothing behind; SIGKILL after half a minute."""
    with suppress(ProcessFailed):
        process.stop()
    process.kill()
