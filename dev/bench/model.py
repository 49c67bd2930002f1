"""The plan on paper beyond one machine: `python -m dev.bench.model [--json FILE] [--cores N] [--markdown]`.

Feeds the figures of a run (`make bench` writes them) into ``capacity.py`` and prints the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from dev.bench.capacity import ASSUMPTIONS, Measured, Plan, Scenario, plan, sub_stocks_needed
from dev.services.own import PROJECT

SCENARIOS: Final[dict[str, Scenario]] = {
    "one coupon, 10,000 of it, 1M people in 10 s": Scenario(
        people=1_000_000, seconds=10, coupons=1, stock=10_000
    ),
    "one coupon, 10,000 of it, 1M people in 1 s": Scenario(
        people=1_000_000, seconds=1, coupons=1, stock=10_000
    ),
    "100 hot coupons, 1,000 of each, 1M people in 10 s": Scenario(
        people=1_000_000, seconds=10, coupons=100, stock=1_000
    ),
    "one coupon, 1M of it, 1M people in 10 s": Scenario(
        people=1_000_000, seconds=10, coupons=1, stock=1_000_000
    ),
    "one coupon, 1M of it, 1M people in 60 s": Scenario(
        people=1_000_000, seconds=60, coupons=1, stock=1_000_000
    ),
}
_HEAD: Final = (
    "scenario",
    "claims/s",
    "API cores",
    "API machines",
    "busiest gate",
    "cut into",
    "Redis shards",
    "Redis MB",
    "broker cores",
    "partitions = consumers",
    "all issued after",
    "limited by",
)
_CUTS: Final = (1, 2, 4, 8, 16, 32)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.model", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", default=PROJECT / ".bench" / "bench.json")
    parser.add_argument("--cores", type=int, default=8, help="of one machine (default %(default)s)")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    try:
        measured = Measured.of(json.loads(options.json.read_text()))
    except FileNotFoundError:
        sys.exit(f"{options.json} is not there: measure with `make bench`, or name a run with --json")
    except LookupError as error:
        sys.exit(str(error.args[0]))
    show = _markdown if options.markdown else _text
    print("Measured: " + _told(measured))
    print("\n" + show([_HEAD, *(scenario_row(name, measured, options.cores) for name in SCENARIOS)]))
    hottest = next(iter(SCENARIOS.values()))
    hottest = replace(hottest, stock=hottest.people)
    print(
        f"\nOne coupon, {hottest.people:,} of it and as many people in {hottest.seconds:.0f} s, cut into k:\n"
    )
    print(show(cut_rows(measured, hottest, options.cores)))
    print("\nAssumptions:\n" + "\n".join(f"- {each}" for each in ASSUMPTIONS))
    return 0


def _told(measured: Measured) -> str:
    return (
        f"API {measured.api_us_accepted:.0f} us of CPU a claim ({measured.api_us_refused:.0f} a refusal), "
        f"Redis {measured.redis_us_accepted:.1f} ({measured.redis_us_refused:.1f}), broker "
        f"{measured.kafka_us_accepted:.0f}, database {measured.database_us:.1f} an event; "
        f"{measured.consumer_per_s:,.0f} events/s a consumer; {measured.redis_bytes:.0f} bytes a claimant"
    )


def scenario_row(name: str, measured: Measured, cores: int) -> tuple[str, ...]:
    """With as many sub-stocks as the gate needs, and no more."""
    scenario = SCENARIOS[name]
    cut = sub_stocks_needed(measured, scenario)
    planned = plan(measured, replace(scenario, sub_stocks=cut), cores=cores)
    return (
        name,
        f"{planned.claims_per_s:,.0f}",
        str(planned.api_cores),
        str(planned.api_machines),
        f"{planned.gate_share:.0%}",
        str(cut),
        str(planned.redis_shards),
        f"{planned.redis_mb:,.1f}",
        str(planned.broker_cores),
        str(planned.partitions),
        f"{planned.issued_s:,.2f} s",
        planned.limited_by,
    )


def cut_rows(measured: Measured, scenario: Scenario, cores: int) -> list[tuple[str, ...]]:
    """What cutting one very hot coupon's stock into k gains."""
    rows: list[tuple[str, ...]] = [
        ("k", "busiest gate", "fits", "partitions = consumers", "all issued after", "gain", "limited by")
    ]
    alone = plan(measured, scenario, cores=cores)
    for cut in _CUTS:
        planned = plan(measured, replace(scenario, sub_stocks=cut), cores=cores)
        rows.append(_cut_row(cut, planned, gain=alone.issued_s / planned.issued_s))
    return rows


def _cut_row(cut: int, planned: Plan, *, gain: float) -> tuple[str, ...]:
    return (
        str(cut),
        f"{planned.gate_share:.0%}",
        "yes" if planned.fits else "no",
        str(planned.partitions),
        f"{planned.issued_s:,.2f} s",
        f"{gain:.1f}",
        planned.limited_by,
    )


def _text(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    head, *others = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "| --- |" + " ---: |" * (len(rows[0]) - 1), *others])


if __name__ == "__main__":
    sys.exit(main())
