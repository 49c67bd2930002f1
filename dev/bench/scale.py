"""How much is measured: the long form, and the short one for CI (under three minutes)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    users: int  #: rows of the user table; each claims once on a stage
    rounds: int  #: of baseline and ours in turn
    slice_s: int  #: of one load in a round
    warm_s: int
    broker_warm_s: int
    open_loop_s: float
    issue_rounds: int
    backlog: int  #: events on the hot coupon, and spread over the many
    spread_over: int  #: coupons
    single_events: int  #: decided one by one
    baseline_rows: int  #: of each executemany
    rush_users: int
    rush_rounds: int
    claimants: int  #: of one load of the memory measurement
    starts: int  #: of each process


LONG = Scale(
    users=3_500_000,
    rounds=8,
    slice_s=2,
    warm_s=3,
    broker_warm_s=45,
    open_loop_s=20,
    issue_rounds=2,
    backlog=60_000,
    spread_over=100,
    single_events=2_000,
    baseline_rows=50_000,
    rush_users=20_000,
    rush_rounds=3,
    claimants=50_000,
    starts=3,
)
SHORT = Scale(
    users=500_000,
    rounds=2,
    slice_s=2,
    warm_s=1,
    broker_warm_s=10,
    open_loop_s=6,
    issue_rounds=1,
    backlog=30_000,
    spread_over=100,
    single_events=1_000,
    baseline_rows=20_000,
    rush_users=4_000,
    rush_rounds=1,
    claimants=4_000,
    starts=3,
)
