"""memory: of the processes after load, of Redis per claimant, and whether either grows."""

from __future__ import annotations

from typing import Final

from django_redis import get_redis_connection

from dev.bench import crowd, database, usage
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.targets import API_WORKER_MB, CONSUMER_MB, REDIS_BYTES_PER_CLAIMANT

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
        resident = [_resident_mb(stage, consumer.pid)]
        for _ in range(_LOADS - 1):
            complaints += _load(stage, coupon_id)
            stage.wait_decided(coupon_id)
            resident.append(_resident_mb(stage, consumer.pid))
        complaints += stage.verify()
    return Outcome(
        name="memory",
        figures=_figures(resident, per_claimant),
        complaints=complaints,
        details={"resident_mb": resident, "redis_bytes_per_claimant": per_claimant},
    )


def _figures(resident: list[dict[str, float]], per_claimant: float) -> list[Figure]:
    first, last = resident[0], resident[-1]
    return [
        Figure(name="memory API worker / 120 MB", ours=last["api"], baseline=API_WORKER_MB),
        Figure(name="memory consumer / 150 MB", ours=last["consumer"], baseline=CONSUMER_MB),
        Figure(name="memory Redis / 120 bytes", ours=per_claimant, baseline=REDIS_BYTES_PER_CLAIMANT),
        Figure(name="memory API growth", ours=last["api"], baseline=first["api"]),
        Figure(name="memory consumer growth", ours=last["consumer"], baseline=first["consumer"]),
    ]


def _load(stage: Stage, coupon_id: int) -> list[str]:
    """So many claims exactly; returns what is wrong with their answers."""
    return crowd.run(stage.plan([coupon_id], stage.run.scale.claimants, limit_s=300)).complaints(202)


def _redis_bytes() -> int:
    return int(get_redis_connection("default").info("memory")["used_memory"])


def _resident_mb(stage: Stage, consumer_pid: int) -> dict[str, float]:
    """The largest API worker, and the consumer."""
    workers = usage.workers(stage.system.api.pid)
    return {
        "api": max(usage.resident_mb(pid) for pid in workers),
        "consumer": usage.resident_mb(consumer_pid),
    }
