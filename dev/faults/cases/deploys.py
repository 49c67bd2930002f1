"""A new version takes an old one's place under load, process by process, with migrations in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from dev.faults.case import Case
from dev.faults.rush import Answer
from dev.faults.scene import Scene
from dev.processes import Process

#: A balancer has heard of a process that is taken out after this; the chart's preStop waits longer.
_TAKEN_OUT_S: Final = 1.0
_RUSH_S: Final = 150.0


def _roll_out(scene: Scene) -> None:
    """Migrate, then one API process after the other, then one consumer after the other; claims go on."""
    former = [scene.api, _one_more_like(scene.api, scene)]
    scene.rush.lead_to(*(each.port for each in former))
    done = scene.system.manage("migrate", "--noinput")
    scene.expect(done.returncode == 0, f"migrate failed: {done.stderr[-300:]}")
    scene.struck()
    for old in former:
        _replace_api(scene, old)
    for old in list(scene.system.consumers):
        _replace_consumer(scene, old)
    scene.struck()
    scene.expect(scene.rush.finish(within_s=_RUSH_S), "some users never had a last word")
    told = refused(scene.rush.answers)
    scene.expect(not told, f"refused, and not by the stock: {dict(told)}")


def refused(answers: Sequence[Answer]) -> Counter[tuple[int, str | None]]:
    """Those that were refused for another reason than the stock, or not answered: by status and code."""
    told = Counter((each.status, each.code) for each in answers if not each.is_accepted)
    del told[409, "OUT_OF_STOCK"]
    return told


def _one_more_like(api: Process, scene: Scene) -> Process:
    another = scene.system.new_api()
    another.folder = api.folder
    scene.system.others.append(another)
    return another.start().wait_ready()


def _replace_api(scene: Scene, old: Process) -> None:
    """As a roll-out does: the new one is ready, the old one is taken out, and told to end."""
    new = scene.system.new_api()
    scene.system.others += [old, new]
    new.start().wait_ready()
    scene.system.api = new
    ready = [each.port for each in scene.system.others if each.running and each is not old]
    scene.rush.lead_to(*ready)
    time.sleep(_TAKEN_OUT_S)
    scene.expect(old.stop() == 0, f"an API process did not end well: {old.how_it_ended()}")


def _replace_consumer(scene: Scene, old: Process) -> None:
    """As a StatefulSet does: the old one has ended before the new one begins."""
    scene.expect(old.stop() == 0, f"a consumer did not end well: {old.how_it_ended()}")
    scene.add_consumer().wait_ready()


CASES = [
    Case(
        name="rolled-out",
        what="API and consumers of the release before replaced one by one, migrations in between",
        act=_roll_out,
        begins_with_former=True,
        consumers=2,
        lasts_s=lambda scale: 5 * scale.rush_s,
        in_short=True,
    ),
]
