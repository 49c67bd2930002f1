"""memory: of the processes after load, of Redis per claimant, and whether either grows."""

from __future__ import annotations

from typing import Final

from django_redis import get_redis_connection

from dev.bench import crowd, database, processes
from dev.bench.generator import Plan
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.targets import API_WORKER_MB, CONSUMER_MB, REDIS_BYTES_PER_CLAIMANT

_CONNECTIONS: Final = 64
_LOADS: Final = 3


def memory(run: Run) -> Outcome:
    """The same load three times. What was there after the first is what later ones may not exceed.

    Redis is looked at while no consumer runs, so that every claimant is still on his way, and all of them on
    a coupon that nobody wanted before: what is measured is the whole of its gate.
    """
    with staged(run) as stage:
        stage.start_api()
        warm, coupon_id = database.make_coupons(2, stock=run.scale.users)
        stage.load(warm, seconds=run.scale.warm_s)
        before = _redis_bytes()
        complaints = _load(stage, coupon_id)
        per_claimant = (_redis_bytes() - before) / run.scale.claimants
        consumer = stage.start_consumer()
        stage.wait_decided(warm)
        stage.wait_decided(coupon_id)
        resident = [_resident_mb(stage, consumer.process.pid)]
        for _ in range(_LOADS - 1):
            complaints += _load(stage, coupon_id)
            stage.wait_decided(coupon_id)
            resident.append(_resident_mb(stage, consumer.process.pid))
        complaints += stage.verify()
    return Outcome(
        name="memory",
        figures=_figures(resident, per_claimant),
        complaints=complaints,
        details={"resident_mb": resident, "redis_bytes_per_claimant": per_claimant},
    )


def _figures(resident: list[dict[str, float]], per_claimant: float) -> list[Figure]:
    return [
        _limit("memory API worker / 120 MB", "MB", resident[-1]["api"], API_WORKER_MB),
        _limit("memory consumer / 150 MB", "MB", resident[-1]["consumer"], CONSUMER_MB),
        _limit("memory Redis / 120 bytes", "bytes", per_claimant, REDIS_BYTES_PER_CLAIMANT),
        _growth("memory API growth", resident, "api"),
        _growth("memory consumer growth", resident, "consumer"),
    ]


def _load(stage: Stage, coupon_id: int) -> list[str]:
    """So many claims exactly; returns what is wrong with their answers."""
    count = stage.run.scale.claimants
    report = crowd.run(
        Plan(
            port=stage.system.api.port,
            heads=[stage.claim_path(coupon_id)],
            first_user=stage.run.users.take(count).start,
            count=count,
            connections=_CONNECTIONS,
            limit_s=300,
        )
    )
    accepted = report.statuses.count(202)
    return [] if accepted == count else [f"{accepted} of {count} claims were accepted: {report.codes}"]


def _redis_bytes() -> int:
    return int(get_redis_connection("default").info("memory")["used_memory"])


def _resident_mb(stage: Stage, consumer_pid: int) -> dict[str, float]:
    """The largest API worker, and the consumer."""
    workers = processes.workers(stage.system.api.process.pid)
    return {
        "api": max(processes.resident_mb(pid) for pid in workers),
        "consumer": processes.resident_mb(consumer_pid),
    }


def _limit(name: str, unit: str, ours: float, most: float) -> Figure:
    return Figure(name=name, unit=unit, ours=ours, baseline=most, baseline_name="at most")


def _growth(name: str, resident: list[dict[str, float]], who: str) -> Figure:
    return Figure(
        name=name,
        unit="MB",
        ours=resident[-1][who],
        baseline=resident[0][who],
        baseline_name="two loads before",
    )
