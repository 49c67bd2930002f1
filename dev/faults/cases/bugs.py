"""The suite's own proof: with a bug put in on purpose the row must turn red."""

from __future__ import annotations

from dev.faults.bugs import without_unique_claims
from dev.faults.case import Case
from dev.faults.cases.log import ask_twice
from dev.faults.cases.servers import paused
from dev.faults.scene import Scene


def _kill_once(scene: Scene) -> None:
    scene.consumer.wait(within_s=30)
    scene.consumer.kill()
    scene.add_consumer()


CASES = [
    Case(
        name="bug-position-before-commit",
        what="BUG: the position moves before the rows are durable; consumer killed before COMMIT",
        act=_kill_once,
        # Not in "lost": the search for leaked slots finds what was passed over, and it is decided too late.
        bug_shows_in="complaints",
        in_short=True,
        consumer_patch="bug:move-position-first kill:before-commit",
        consumer_words=("--batch-size", "20"),
    ),
    Case(
        name="bug-no-unique-claims",
        what="BUG: no unique constraint and nobody looks at holders; users ask twice",
        act=ask_twice,
        bug_shows_in="doubled",
        in_short=True,
        consumer_patch="bug:ignore-holders",
        consumer_words=("--batch-size", "20"),
        meanwhile=without_unique_claims,
    ),
    Case(
        name="bug-slot-kept",
        what="BUG: a slot whose event was not published is not given back; broker stopped",
        # Claims are refused while it is away; what they had reserved must come back.
        act=paused("kafka", for_s=lambda scale: 6),
        bug_shows_in="leaked",
        settle_s=40,  # a reservation without an event is given back after some 20 s
        in_short=True,
        api_patch="bug:keep-slots",
        consumer_patch="bug:keep-slots",
    ),
]
