"""The system of one measurement: empty tables, a topic of its own, processes as they ship."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from django.db import connection
from django_redis import get_redis_connection

from dev import suite, topics
from dev.bench import database, wrk
from dev.bench.generator import Plan
from dev.bench.run import Run
from dev.bench.wrk import Counted
from dev.processes import Process, ProcessFailed
from tests.system import System, eventually

_VERIFY_S: Final = 1200.0
_SETTLE_S: Final = 300.0


@dataclass(slots=True, kw_only=True)
class Stage:
    run: Run
    system: System
    _ended: ExitStack

    def start_api(self) -> Process:
        return self.start(self.system.api).wait_ready()

    def start_consumer(self, *words: str) -> Process:
        consumer = self.system.new_consumer(*words)
        self.system.consumers.append(consumer)
        return self.start(consumer).wait_ready()

    def start(self, process: Process) -> Process:
        process.start()
        self._ended.callback(stop, process)
        return process

    def load(self, coupon_id: int, *, seconds: int) -> Counted:
        """So many seconds of claims by new users, 64 at once."""
        counted = wrk.run(
            port=self.system.api.port,
            head=claim_path(coupon_id),
            first_user=self.run.users.next,
            seconds=seconds,
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

    def wait_decided(self, coupon_id: int) -> None:
        """Wait until everything that was accepted is decided, so that it does not disturb what follows."""
        time.sleep(0.2)  # wrk hangs up on the last claims: let them be answered
        path = f"/api/coupons/{coupon_id}/queue-size"

        def is_settled() -> bool:
            answer = self.system.get(path)
            return answer.status == 200 and answer.body["queueSize"] == 0

        eventually(is_settled, within_s=_SETTLE_S, what=lambda: f"coupon {coupon_id} is not decided")

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
    """Everything that is started on the stage is stopped at its end; the topics go too."""
    connection.close()
    database.empty()
    get_redis_connection("default").flushall()
    with topics.own_topic(f"bench-{uuid4().hex[:8]}") as topic, ExitStack() as ended:
        ended.callback(topics.delete, topic, f"{topic}.DLT")
        yield Stage(run=run, system=System(topic=topic, consumers=0), _ended=ended)


def claim_path(coupon_id: int) -> str:
    return f"/api/coupons/{coupon_id}/issue?userId="


def stop(process: Process) -> None:
    """SIGTERM, so that it leaves nothing behind; SIGKILL after half a minute."""
    with suppress(ProcessFailed):
        process.stop()
    process.kill()
