"""Processes of ours die, freeze, and come and go."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil
from django.db import connection

from coupons.models import Coupon
from coupons.operations import steering
from coupons.operations.steering import Step
from coupons.outcomes import SteeringAction
from dev.faults.case import Case
from dev.faults.patching import STEPS
from dev.faults.scene import Scene
from dev.processes import Process, wait_until

_STRUCK_WITHIN_S = 60.0


def _kill_consumers(step: str) -> Callable[[Scene], None]:
    """One after the other dies at this step; the last one lives."""

    def act(scene: Scene) -> None:
        died = 0
        for number in range(1, scene.scale.kills + 1):
            died += _wait_dead(scene.system.consumers[-1])
            if number < scene.scale.kills:
                scene.add_consumer(patch=f"kill:{step}")
        scene.expect(died == scene.scale.kills, f"{died} of {scene.scale.kills} consumers died at the step")
        scene.add_consumer()

    return act


def _wait_dead(process: Process) -> bool:
    """Whether it was killed in time; if not, it is ended so that the next can begin."""
    died = process.wait(within_s=_STRUCK_WITHIN_S) == -signal.SIGKILL
    process.kill()
    return died


def _pause_deciding(scene: Scene) -> None:
    """An operator pauses and resumes; the consumer dies while it defers, and while it catches up."""
    _steer(scene, SteeringAction.PAUSE_DECIDING)
    scene.struck()
    scene.expect(_wait_dead(scene.consumer), "the consumer did not die while it deferred")
    catching_up = scene.add_consumer(patch="kill:resumed")
    few = scene.stock // 10
    scene.expect(wait_until(lambda: scene.deferred() >= few, within_s=60), "nothing was deferred")
    decided = scene.decided()
    time.sleep(2)
    scene.expect(scene.decided() == decided, "something was decided during the pause")
    _steer(scene, SteeringAction.RESUME_DECIDING)
    scene.expect(_wait_dead(catching_up), "the consumer did not die while it caught up")
    scene.add_consumer()


def _steer(scene: Scene, action: SteeringAction) -> None:
    """In this process: a command's start takes longer than a rush waits for it on a busy machine."""
    connection.close()
    seen = steering.outlook(Coupon.objects.get(pk=scene.coupon_id), action).seen
    step = Step(action=action, who="the fault suite", why="a fault", seen=seen)
    steering.take(step, coupon_id=scene.coupon_id)


def _kill_api_workers(scene: Scene) -> None:
    """Each kill takes one worker; gunicorn forks the next."""
    for _ in range(scene.scale.kills):
        if workers := psutil.Process(scene.api.pid).children():
            with suppress(psutil.NoSuchProcess):
                random.choice(workers).kill()
        time.sleep(0.3)


def _kill_api(scene: Scene) -> None:
    for part in (4, 2):
        scene.rush.wait_accepted(scene.stock // part)
        scene.api.kill()
        scene.api.start().wait_ready()


def _reload_api(scene: Scene) -> None:
    """SIGHUP, as for new settings: each worker finishes what it has and another takes its place."""
    for _ in range(scene.scale.kills):
        scene.api.process.send_signal(signal.SIGHUP)
        scene.struck()
        time.sleep(1)
    scene.expect(_unanswered_with_a_slot(scene) == [], "claims that had a slot were not answered")


def _unanswered_with_a_slot(scene: Scene) -> list[int]:
    """Who had no answer and was then told ALREADY_REQUESTED: the first claim had been taken in hand."""
    unanswered: set[int] = set()
    found = []
    for answer in list(scene.rush.answers):
        if answer.status == 0:
            unanswered.add(answer.user_id)
        elif answer.code == "ALREADY_REQUESTED" and answer.user_id in unanswered:
            found.append(answer.user_id)
    return found


def _come_and_go(scene: Scene) -> None:
    """Three consumers; every two seconds one leaves, asked or killed, and another comes."""
    until = time.monotonic() + scene.scale.storm_s
    for _ in range(2):
        scene.add_consumer()
    turn = 0
    while time.monotonic() < until:
        time.sleep(2)
        leaving = scene.system.consumers[turn]
        turn += 1
        scene.add_consumer()
        if turn % 4 == 0:
            leaving.kill()
        else:
            leaving.ask_to_stop()


def _freeze_consumer(scene: Scene) -> None:
    """It holds a batch past its lock and its poll interval, another takes over, and it wakes as a zombie."""
    zombie = scene.consumer
    frozen = _are_frozen([psutil.Process(zombie.pid)], within_s=_STRUCK_WITHIN_S)
    scene.expect(frozen, "the consumer did not freeze at its step")
    scene.add_consumer()
    time.sleep(14)  # past the lock (2 s), the session (6 s) and the poll interval (8 s)
    zombie.signal(signal.SIGCONT)
    time.sleep(3)


def _freeze_api(scene: Scene) -> None:
    """Its workers hold reservations without events until these were given back, and wake."""
    frozen = _are_frozen(psutil.Process(scene.api.pid).children(), within_s=30)
    scene.expect(frozen, "the workers did not freeze")
    scene.struck()
    time.sleep(30)  # a round of looking for leaked slots takes 18 s, and the one before it may be on
    scene.api.signal(signal.SIGCONT)
    time.sleep(3)


def _are_frozen(processes: Sequence[psutil.Process], *, within_s: float) -> bool:
    return wait_until(
        lambda: all(each.status() == psutil.STATUS_STOPPED for each in processes), within_s=within_s
    )


_SHORT_LIVED = {"COUPON_LOCK_EXPIRY_S": "2", "COUPON_CONSUMER_MAX_POLL_INTERVAL_MS": "8000"}

CASES = [
    *(
        Case(
            name=f"consumer-killed-{step}",
            what=f"consumer killed (SIGKILL) {STEPS[step]}, one after the other",
            act=_kill_consumers(step),
            consumer_patch=f"kill:{step}",
            consumer_words=("--batch-size", "20"),
            in_short=step in ("before-commit", "after-commit"),
        )
        for step in STEPS
    ),
    Case(
        name="deciding-paused",
        what="deciding paused and resumed; consumers killed while they defer and while they catch up",
        act=_pause_deciding,
        consumer_patch="kill:deferring",
        consumer_words=("--batch-size", "20"),
        lasts_s=lambda scale: 2 * scale.rush_s,
        in_short=True,
    ),
    Case(
        name="api-worker-killed",
        what="API workers killed (SIGKILL) one after the other",
        act=_kill_api_workers,
    ),
    Case(name="api-killed", what="the whole API killed (SIGKILL), twice", act=_kill_api, in_short=True),
    Case(
        name="api-reloaded",
        what="the API told to reload (SIGHUP), again and again: nobody who holds a slot goes unanswered",
        act=_reload_api,
        lasts_s=lambda scale: 2 * scale.kills,
    ),
    Case(
        name="consumers-come-and-go",
        what="three consumers, every 2 s one leaves and one joins",
        act=_come_and_go,
        lasts_s=lambda scale: scale.storm_s,
        consumer_words=("--batch-size", "20"),
        in_short=True,
    ),
    Case(
        name="api-frozen",
        what="API workers frozen between reserving and publishing until the slots are given back, woken",
        act=_freeze_api,
        api_patch="freeze:reserved",
    ),
    *(
        Case(
            name=f"consumer-frozen-{step}",
            what=f"consumer frozen {STEPS[step]} past lock and poll interval, then woken",
            act=_freeze_consumer,
            consumer_patch=f"freeze:{step}",
            consumer_words=("--batch-size", "20"),
            env=_SHORT_LIVED,
            in_short=step == "after-decode",
        )
        for step in ("after-decode", "before-commit", "before-offset")
    ),
]
