"""A case of the suite: how the system is started, what breaks, and how large the rush is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dev.clusters.parts import Part

if TYPE_CHECKING:
    from dev.faults.scene import Scene
    from dev.services.own import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large and how long: the long form, and the short one for CI."""

    users: int
    stock: int
    rush_s: float  #: over which the users come
    kills: int  #: of one process, one after the other
    outage_s: float  #: of a server
    storm_s: float  #: of consumers that come and go
    poison: int  #: among ten times as many good events


def lasting(
    begin: Callable[[Scene], object],
    end: Callable[[Scene], object],
    *,
    for_s: Callable[[Scale], float] = lambda scale: scale.outage_s,
) -> Callable[[Scene], None]:
    """A fault that begins, holds for a while, and ends whatever happens."""

    def act(scene: Scene) -> None:
        begin(scene)
        scene.struck()
        try:
            time.sleep(for_s(scene.scale))
        finally:
            end(scene)

    return act


LONG = Scale(users=2000, stock=1000, rush_s=12, kills=10, outage_s=20, storm_s=60, poison=1000)
#: For the rows of clusters: 250 claims/s, for as long as a cluster takes to fail and to come back.
CLUSTERS_LONG = Scale(users=6000, stock=5400, rush_s=24, kills=3, outage_s=20, storm_s=30, poison=100)
CLUSTERS_SHORT = Scale(users=4000, stock=3600, rush_s=16, kills=1, outage_s=13, storm_s=12, poison=100)
SHORT = Scale(users=400, stock=200, rush_s=8, kills=2, outage_s=8, storm_s=12, poison=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``act`` runs in the middle of the rush and returns when the fault is over.

    ``bug_shows_in``: for a bug put in on purpose, the field of its row that must not be empty or 0 then.
    ``may_note``: what verify may note in this case, as words of the note; ``may_find`` in a finding's.
    ``settle_s``: how long the system may take to come to rest, each step of it.

    ``links`` go through a proxy, as "api-redis". ``*_patch`` name changes of ``patching.py`` for the
    processes that are started. ``lasts_s``: where the rush must last longer than in other cases, and
    nearly everybody gets a coupon. ``around``: what holds from before the start to after the judgement.
    ``demands``: what it must hold to beyond the promises, noted by ``scene.expect`` at the end.
    ``is_stream``: its users come whether or not those before were answered (``stream.py``).
    ``meanwhile``: the same from after the start, for what would be refused at a start.
    ``begins_with_former``: the processes at the start, and the tables, are of the release before.
    """

    name: str
    what: str
    act: Callable[[Scene], None]
    in_short: bool = False
    bug_shows_in: str = ""
    may_note: str = ""
    may_find: str = ""
    settle_s: float = 90
    consumers: int = 1
    consumer_words: Sequence[str] = ()
    links: Sequence[str] = ()
    api_patch: str = ""
    consumer_patch: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    demands: Callable[[Scene], None] = lambda scene: None
    is_stream: bool = False
    parts: frozenset[Part] = frozenset()  #: what runs as a cluster, for the rows of ``--clusters``
    lasts_s: Callable[[Scale], float] | None = None
    around: Callable[[Services], AbstractContextManager[None]] = lambda services: nullcontext()
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext
    begins_with_former: bool = False
