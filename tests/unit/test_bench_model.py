"""The capacity model: what follows from measured figures for more machines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dev.bench import model
from dev.bench.capacity import Measured, Scenario, plan, sub_stocks_needed

MEASURED = Measured(
    api_us_accepted=500,
    api_us_refused=250,
    redis_us_accepted=35,
    redis_us_refused=7,
    kafka_us_accepted=100,
    consumer_per_s=10_000,
    database_us=70,
    redis_bytes=100,
)


class TestCapacity:
    def test_cores_and_machines_follow_from_the_cpu_time_of_a_claim(self) -> None:
        planned = plan(MEASURED, Scenario(people=100_000, seconds=10, coupons=1, stock=100_000), cores=8)

        assert planned.claims_per_s == 10_000
        assert planned.api_cores == 8  # 10,000/s x 500 us = 5 cores, at 70 % of each
        assert planned.api_machines == 1
        assert planned.gate_share == pytest.approx(0.35)
        assert planned.redis_mb == pytest.approx(10)

    def test_one_coupon_has_one_partition_and_its_sub_stocks_more(self) -> None:
        scenario = Scenario(people=1_000_000, seconds=10, coupons=1, stock=1_000_000)

        alone = plan(MEASURED, scenario, cores=8)
        cut = plan(MEASURED, replace(scenario, sub_stocks=4), cores=8)

        assert (alone.partitions, alone.issued_s, alone.limited_by) == (1, 100.0, "partitions")
        assert (cut.partitions, cut.issued_s) == (4, 25.0)

    def test_the_database_ends_the_gain(self) -> None:
        scenario = Scenario(people=1_000_000, seconds=1, coupons=1, stock=1_000_000, sub_stocks=64)

        planned = plan(MEASURED, scenario, cores=8)

        assert planned.limited_by == "database"
        assert planned.partitions == 8
        assert planned.issued_s == pytest.approx(12.5)  # 0.7 x 8 cores at 70 us an event: 80,000/s

    def test_nothing_is_issued_before_people_come(self) -> None:
        planned = plan(MEASURED, Scenario(people=1000, seconds=60, coupons=1, stock=1000), cores=8)

        assert (planned.issued_s, planned.limited_by) == (60, "people coming")

    def test_a_gate_that_is_too_busy_is_cut(self) -> None:
        scenario = Scenario(people=1_000_000, seconds=1, coupons=1, stock=10_000)

        needed = sub_stocks_needed(MEASURED, scenario)

        assert not plan(MEASURED, scenario, cores=8).fits
        assert plan(MEASURED, replace(scenario, sub_stocks=needed), cores=8).fits
        assert not plan(MEASURED, replace(scenario, sub_stocks=needed - 1), cores=8).fits

    def test_a_run_with_a_dirty_verify_feeds_nothing(self) -> None:
        with pytest.raises(LookupError, match="no good accept"):
            Measured.of({"measurements": {"accept": {"complaints": ["verify: ..."]}}})

    def test_the_tables_are_printed_from_a_run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cpu = {"api": 500, "redis": 35, "kafka": 100}
        claims = {"complaints": [], "slices": [{"cpu_us_per_claim": cpu}]}
        runs = {
            "accept": claims,
            "refuse": claims,
            "issue-hot": {"complaints": [], "per_s": 10_000, "cpu_us_per_event": {"db": 70}},
            "memory": {"complaints": [], "redis_bytes_per_claimant": 100},
        }
        file = tmp_path / "run.json"
        file.write_text(json.dumps({"measurements": runs}))

        assert model.main(["--json", str(file)]) == 0

        shown = capsys.readouterr().out
        assert all(name in shown for name in model.SCENARIOS)
        assert "Assumptions:" in shown
