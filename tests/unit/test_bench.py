"""The benchmark's judgement: what counts, what is good enough, what is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dev import suite
from dev.bench import catalogue, report
from dev.bench.__main__ import main
from dev.bench.judging import Figure, Outcome, Target, Verdict, exit_code, lines
from dev.bench.series import binned_rate, percentile
from dev.bench.targets import TARGETS
from dev.processes import PROJECT

HALF = Target("/s", "plain view", reach=0.6, floor=0.25)
AT_MOST = Target("/s", "plain view", reach=5.0, floor=40.0, smaller_is_better=True)
FIGURE = Figure(name="accept / plain view", ours=700, baseline=1000)
GOOD = Outcome(name="accept", figures=[FIGURE])


def verdict(ours: float, *, complaints: tuple[str, ...] = (), target: Target = HALF) -> Verdict:
    figure = replace(FIGURE, ours=ours)
    return Outcome(name="accept", figures=[figure], complaints=complaints).verdict(figure, target)


def judged(outcome: Outcome, target: Target = HALF) -> list[Any]:
    return lines([outcome], {FIGURE.name: target})


class TestVerdicts:
    @pytest.mark.parametrize(
        ("ours", "expected"),
        [(700, "met"), (600, "met"), (599, "missed"), (250, "missed"), (249, "BELOW FLOOR")],
    )
    def test_a_ratio_is_held_against_its_target_and_its_floor(self, ours: float, expected: str) -> None:
        assert verdict(ours) == expected

    @pytest.mark.parametrize(("ours", "expected"), [(5000, "met"), (5001, "missed"), (40_001, "BELOW FLOOR")])
    def test_where_smaller_is_better_both_are_upper_limits(self, ours: float, expected: str) -> None:
        assert verdict(ours, target=AT_MOST) == expected

    @pytest.mark.parametrize("ours", [1, 700])
    def test_a_figure_with_a_dirty_verify_does_not_count(self, ours: float) -> None:
        assert verdict(ours, complaints=("verify: issued count: ...",)) is Verdict.RED

    def test_an_absolute_target_does_not_count_on_a_slow_machine(self) -> None:
        figure = replace(FIGURE, ours=1, counts=False)

        assert GOOD.verdict(figure, HALF) is Verdict.REPORTED

    def test_without_a_target_a_ratio_is_reported_and_still_has_its_floor(self) -> None:
        target = Target("/s", "plain view", reach=None, floor=0.25)

        assert (verdict(300, target=target), verdict(100, target=target)) == ("-", "BELOW FLOOR")

    def test_a_baseline_of_nothing_is_no_division_by_zero(self) -> None:
        assert replace(FIGURE, baseline=0).ratio == float("inf")


class TestExitCode:
    def test_clean_and_good_is_0(self) -> None:
        assert exit_code(judged(GOOD), with_floors=True) == 0

    def test_a_missed_target_is_told_and_not_punished(self) -> None:
        missed = judged(Outcome(name="accept", figures=[replace(FIGURE, ours=300)]))

        assert missed[0].verdict is Verdict.MISSED
        assert exit_code(missed, with_floors=True) == 0

    def test_a_ratio_below_its_floor_is_1_where_floors_count(self) -> None:
        below = judged(Outcome(name="accept", figures=[replace(FIGURE, ours=100)]))

        assert (exit_code(below, with_floors=True), exit_code(below, with_floors=False)) == (1, 0)

    @pytest.mark.parametrize("with_floors", [True, False])
    def test_a_dirty_verify_is_1_always(self, with_floors: bool) -> None:
        dirty = judged(replace(GOOD, complaints=["verify: one claim per user: ..."]))

        assert exit_code(dirty, with_floors=with_floors) == 1

    def test_what_could_not_be_measured_is_1_and_has_a_line(self) -> None:
        failed = judged(Outcome(name="accept", complaints=["not measured: RuntimeError: ..."]))

        assert exit_code(failed, with_floors=False) == 1
        assert "not measured" in report.as_text(failed)


def test_where_rounds_were_compared_the_median_of_their_ratios_counts() -> None:
    """A machine that is slower for one round slows down both: medians apart would compare it with others."""
    slow_at_times = Figure(name="accept", ours=80, baseline=100, of_rounds=[1.0, 0.9, 0.95])

    assert slow_at_times.ratio == 0.95
    assert replace(slow_at_times, of_rounds=()).ratio == 0.8


class TestTargets:
    def test_what_could_be_had_is_told_beside_the_target(self) -> None:
        assert [str(replace(HALF, stretch=stretch)) for stretch in (None, 0.8)] == [
            ">= 0.60",
            ">= 0.60 (0.80)",
        ]

    def test_every_floor_is_on_the_bad_side_of_its_target(self) -> None:
        for name, target in TARGETS.items():
            if target.reach is not None and target.floor is not None:
                assert not target.is_floor_broken_by(target.reach), name
                assert not target.is_met_by(target.floor), name

    def test_every_target_is_of_a_figure_that_is_measured(self) -> None:
        written = "".join(path.read_text() for path in (PROJECT / "dev/bench/measurements").glob("*.py"))

        assert [name for name in TARGETS if f'"{name}"' not in written] == []


class TestTable:
    def test_there_is_a_line_per_figure(self) -> None:
        head, line = report.as_text(judged(GOOD)).splitlines()

        assert head.split() == ["what", "ours", "baseline", "ratio", "target", "verdict"]
        assert line.split("  ") == [
            "accept / plain view",
            "700/s",
            "1,000/s plain view",
            " 0.70",
            ">= 0.60",
            "met",
        ]

    def test_markdown_has_the_same_cells(self) -> None:
        assert report.as_markdown(judged(GOOD)).splitlines()[2] == (
            "| accept / plain view | 700/s | 1,000/s plain view | 0.70 | >= 0.60 | met |"
        )

    @pytest.mark.parametrize(
        ("value", "unit", "text"),
        [(12345.6, "/s", "12,346/s"), (12.34, "ms", "12.3 ms"), (0.567, "s", "0.57 s")],
    )
    def test_three_figures_are_enough(self, value: float, unit: str, text: str) -> None:
        assert report.number(value, unit) == text


class TestPercentiles:
    @pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (0, 1)])
    def test_nearest_rank(self, percent: float, expected: int) -> None:
        assert percentile(list(range(100, 0, -1)), percent) == expected

    def test_of_one_value(self) -> None:
        assert [percentile([7.0], percent) for percent in (0, 50, 100)] == [7.0, 7.0, 7.0]

    def test_of_none_it_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no values"):
            percentile([], 50)

    def test_rates_by_bin(self) -> None:
        assert binned_rate([0.1, 0.2, 0.6, 1.0], bins=2, until=1.0) == [4.0, 4.0]


class TestCommand:
    def test_the_list_names_every_measurement(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--list"]) == 0

        shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert shown == [each.name for each in catalogue.ALL]

    def test_an_unknown_name_is_refused_before_anything_starts(self) -> None:
        with pytest.raises(SystemExit, match="there is no nothing"):
            main(["--only", "nothing"])

    def test_a_folder_that_is_no_checkout_is_refused_before_anything_starts(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            main(["--before", str(tmp_path)])

        assert "is no checkout" in capsys.readouterr().err

    def test_the_short_form_leaves_out_the_millions(self) -> None:
        options = suite.parser("bench", "").parse_args(["--short"])
        names = [each.name for each in suite.chosen(catalogue.ALL, options)]

        long = {"tickets", "mixed", "kept", "limits", "watched", "figures"}
        long |= {"stored", "stored-ten-million", "cold", "winners"}
        assert {each.name for each in catalogue.ALL} - set(names) == long

    def test_every_measurement_has_its_function(self) -> None:
        for each in catalogue.ALL:
            module, _, function = each.function.partition(".")
            assert callable(getattr(import_module(f"dev.bench.measurements.{module}"), function))


@dataclass(frozen=True)
class Step:
    name: str
    what: str = "something that takes long"
    complaints: Sequence[str] = ()
    in_short: bool = True
    seconds: float = 0.0


def interrupted_at(name: str) -> Callable[[Step], Step]:
    def run(step: Step) -> Step:
        if step.name == name:
            raise KeyboardInterrupt
        return step

    return run


def test_what_was_measured_until_ctrl_c_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Step("first"), Step("second"), Step("third")]

    assert suite.in_turn(steps, interrupted_at("third"), told=lambda step: "done") == steps[:2]
    assert "interrupted after 2 of 3" in capsys.readouterr().out

    with pytest.raises(KeyboardInterrupt):
        suite.in_turn(steps, interrupted_at("first"), told=lambda step: "done")
