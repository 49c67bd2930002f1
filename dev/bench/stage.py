"""The system of one measurement: empty tables, a topic of its own, processes as they ship."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from django.db import connection
from django_redis import get_redis_connection

from dev.bench import database, processes, topics, wrk
from dev.bench.run import Run
from dev.bench.wrk import Counted
from tests.system import Server, System, eventually

_VERIFY_S: Final = 1200.0
_SETTLE_S: Final = 300.0


@dataclass(slots=True, kw_only=True)
class Stage:
    run: Run
    system: System
    _ended: ExitStack

    def start_api(self) -> Server:
        return self.start(self.system.api)

    def start_consumer(self, *words: str) -> Server:
        server = self.system.new_consumer(*words)
        self.system.consumers.append(server)
        return self.start(server)

    def start(self, server: Server, *, waits: bool = True) -> Server:
        server.start()
        self._ended.callback(stop, server)
        if waits:
            server.wait_ready()
        return server

    def start_site(self, server: Server) -> Server:
        return self.start(server, waits=False)

    def claim_path(self, coupon_id: int) -> str:
        return f"/api/coupons/{coupon_id}/issue?userId="

    def load(self, coupon_id: int, *, seconds: int) -> Counted:
        """So many seconds of claims by new users, 64 at once."""
        counted = wrk.run(
            port=self.system.api.port,
            head=self.claim_path(coupon_id),
            first_user=self.run.users.next,
            seconds=seconds,
        )
        self.run.users.take(counted.used)
        return counted

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
        started = [("api", self.system.api)] + [("consumer", each) for each in self.system.consumers]
        return self.run.services.pids() | {
            name: server.process.pid for name, server in started if hasattr(server, "process")
        }

    def verify(self, coupon_id: int | None = None, *, from_topic: bool = True) -> list[str]:
        """What ``manage.py verify`` finds wrong; empty if it is clean."""
        words = ["--coupon", str(coupon_id)] if coupon_id is not None else []
        words += ["--from-topic"] if from_topic else []
        try:
            done = self.system.manage("verify", "--json", *words, timeout_s=_VERIFY_S)
            report = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            return [f"verify did not answer: {str(error)[:300]}"]
        findings = [f"verify: {each['check']}: {each['message']}" for each in report["findings"]]
        return findings[:20] + [f"verify: {each}" for each in (*report["unchecked"], *report["notes"])]


@contextmanager
def staged(run: Run) -> Iterator[Stage]:
    """Everything that is started on the stage is stopped at its end; the topics go too."""
    connection.close()
    database.empty()
    get_redis_connection("default").flushall()
    system = System(topic=f"bench-{uuid4().hex[:8]}", consumers=0)
    topics.create(system.topic)
    with ExitStack() as ended:
        ended.callback(topics.delete, system.topic)
        yield Stage(run=run, system=system, _ended=ended)


def stop(server: Server) -> None:
    """SIGTERM, so that it leaves nothing behind; SIGKILL after half a minute."""
    with suppress(subprocess.TimeoutExpired):
        server.stop()
    server.kill()


@contextmanager
def cpu_counted(pids: Mapping[str, int]) -> Iterator[dict[str, float]]:
    """Fills in the CPU seconds that each took within the block."""
    before = processes.cpu_seconds(pids)
    used: dict[str, float] = {}
    yield used
    used.update(processes.cpu_used(before, processes.cpu_seconds(pids)))
