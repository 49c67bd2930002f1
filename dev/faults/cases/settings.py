"""Clocks that jump, and deployments that differ."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from dev.faults.case import Case, lasting
from dev.faults.rush import Rush
from dev.faults.scene import Scene

_MARKS = Path(tempfile.gettempdir())


def _clock(name: str, *, api_s: int, consumer_s: int) -> Case:
    mark = _MARKS / f"coupon-faults-{os.getpid()}-{name}"
    return Case(
        name=name,
        what=f"clocks jump and come back: API {api_s:+} s, consumer {consumer_s:+} s",
        act=lasting(lambda _: mark.touch(), lambda _: mark.unlink(), for_s=lambda scale: 6),
        api_patch=f"clock:{api_s}:{mark}",
        consumer_patch=f"clock:{consumer_s}:{mark}",
    )


def _second_deployment(**env: str) -> Callable[[Scene], None]:
    """Half of the crowd goes to another API: other workers, other patience, an older view of the coupon."""

    def act(scene: Scene) -> None:
        other = scene.system.new_api(**env)
        scene.system.consumers.append(other)  # so that it is stopped with the rest
        other.start().wait_ready()
        more = Rush(
            ports=[other.port, scene.api.port],
            coupon_id=scene.coupon_id,
            # Every other user of them asks the first deployment too.
            users=[user for n in range(1, scene.scale.users // 2) for user in (n, scene.scale.users + n)],
        )
        more.start()
        scene.expect(more.finish(within_s=90), "some users of the second deployment had no last word")
        scene.rush.answers.extend(more.answers)

    return act


CASES = [
    _clock("clocks-forward", api_s=300, consumer_s=300),
    _clock("clocks-apart", api_s=-300, consumer_s=300),
    Case(
        name="two-deployments",
        what="two deployments of the API with different settings",
        act=_second_deployment(
            COUPON_API_WORKERS="1",
            COUPON_API_THREADS="12",
            COUPON_VIEW_TTL_MS="1500",
            COUPON_PUBLISH_TIMEOUT_MS="9000",
            COUPON_REDIS_TIMEOUT_MS="2000",
        ),
        in_short=True,
    ),
]
