"""figures: what counting by coupon and second, and writing it down, cost the claims.

At a fixed rate, by the CPU time of an API with one worker. As fast as it can, an API has batches of other
sizes in each slice, and so it has by how connections fall on two workers. Either changes a claim's CPU time
by a fifth and more, where a fiftieth is sought.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from statistics import median
from typing import Final

from dev.bench import crowd, database
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.usage import cpu_counted
from dev.processes import Process

_ROUNDS: Final = 12
_SLICE_S: Final = 4
#: Half of what one worker does on two cores that it shares with all else. More, and slices differ again.
_PER_S: Final = 1_500
_ONE_WORKER: Final = {"COUPON_API_WORKERS": "1"}
_CONNECTIONS: Final = 64


def figures(run: Run) -> Outcome:
    """Claims on our API, in turn with the same without figures, and with the other checkout's if one is
    named, while nothing is decided."""
    spent: defaultdict[str, list[float]] = defaultdict(list)
    with staged(run) as stage:
        stage.start_api()  # tells when everything is decided
        apis = {"with": _started(stage), "without": _without(stage)}
        if run.before is not None:
            apis["before"] = stage.start_api_before(**_ONE_WORKER)
        consumer = stage.start_consumer()
        [coupon_id] = database.make_coupons(1, stock=run.scale.users)
        for api in apis.values():
            stage.load(coupon_id, seconds=run.scale.warm_s, api=api)
        stage.wait_decided(coupon_id)
        complaints: list[str] = []
        for number in range(_ROUNDS):
            for name, api in list(apis.items())[:: -1 if number % 2 else 1]:
                with consumer.paused():
                    spent[name].append(_us_a_claim(stage, coupon_id, api, complaints))
                stage.wait_decided(coupon_id)
        complaints += stage.verify()
    named = {"without": "API's CPU a claim, figures / none", "before": "API's CPU a claim, ours / before"}
    found = [
        Figure(name=named[name], ours=median(spent["with"]), baseline=median(spent[name]))
        for name in apis
        if name != "with"
    ]
    return Outcome(name="figures", figures=found, complaints=complaints, details={"us_a_claim": dict(spent)})


def _us_a_claim(stage: Stage, coupon_id: int, api: Process, complaints: list[str]) -> float:
    count = _PER_S * _SLICE_S
    plan = stage.plan([coupon_id], count, limit_s=30, connections=_CONNECTIONS, per_s=_PER_S)
    with cpu_counted({"api": api.pid}) as spent_s:
        complaints += crowd.run(replace(plan, port=api.port)).complaints(202)
    return round(spent_s["api"] / count * 1e6, 1)


def _started(stage: Stage) -> Process:
    return stage.start(stage.system.new_api(**_ONE_WORKER)).wait_ready()


def _without(stage: Stage) -> Process:
    api = stage.system.new_api(**_ONE_WORKER)
    api.command = [*api.command[:-1], "dev.bench.sites.without_figures"]
    return stage.start(api).wait_ready()
