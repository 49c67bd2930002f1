"""Counting is cheap and exact; percentiles say what the buckets can say. Pure."""

from __future__ import annotations

from collections import Counter

import pytest

from coupons import measures
from coupons.figures.counting import Answered, Desk, Figures, merged
from coupons.figures.spread import BOUNDS_S, bucket_of, percentile_s
from runtime import metrics


def test_a_batch_is_counted_by_coupon_answer_and_time() -> None:
    desk = Desk(is_open=True)

    desk.answered([1, 1, 2], ["ACCEPTED", "OUT_OF_STOCK", "ACCEPTED"], [0.0004, 0.0004, 99.0])
    desk.decided([(1, "ISSUED"), (1, "ISSUED"), (1, "OUT_OF_STOCK")])
    found = _by_coupon(merged(desk.fetch()))

    assert found[1].answers == {"ACCEPTED": 1, "OUT_OF_STOCK": 1}
    assert found[1].took == {0: 2}
    assert found[1].decisions == {"ISSUED": 2, "OUT_OF_STOCK": 1}
    assert found[2] == Figures(answers={"ACCEPTED": 1}, took={len(BOUNDS_S): 1})
    assert desk.fetch() == []


@pytest.mark.parametrize("is_open", [True, False], ids=["kept", "not-kept"])
def test_a_batch_is_counted_once_for_figures_and_metrics(is_open: bool) -> None:
    desk = Desk(is_open=is_open)
    before = _metrics()

    answered = desk.answered([1, 1, 1, 2], ["ACCEPTED", "ACCEPTED", "OUT_OF_STOCK", "ACCEPTED"], [0.1] * 4)
    decided = desk.decided([(1, "ISSUED"), (1, "ISSUED"), (2, "OUT_OF_STOCK")])
    measures.claims_answered(answered)
    measures.events_decided(decided)

    assert answered == {(1, "ACCEPTED"): 2, (1, "OUT_OF_STOCK"): 1, (2, "ACCEPTED"): 1}
    assert decided == {(1, "ISSUED"): 2, (2, "OUT_OF_STOCK"): 1}
    assert _metrics() - before == Counter(
        {
            ("coupon_claims", "ACCEPTED"): 3,
            ("coupon_claims", "OUT_OF_STOCK"): 1,
            ("coupon_claims_by_coupon", "ACCEPTED"): 3,
            ("coupon_claims_by_coupon", "OUT_OF_STOCK"): 1,
            ("coupon_events_decided", "ISSUED"): 2,
            ("coupon_events_decided", "OUT_OF_STOCK"): 1,
            ("coupon_decided_by_coupon", "ISSUED"): 2,
            ("coupon_decided_by_coupon", "OUT_OF_STOCK"): 1,
        }
    )


def _metrics() -> Counter[tuple[str, str]]:
    """What four metrics say, by answer or decision."""
    found: Counter[tuple[str, str]] = Counter()
    for each in (metrics.CLAIMS, metrics.EVENTS_DECIDED, measures.CLAIMS, measures.DECIDED):
        for metric in each.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    kind = sample.labels.get("outcome") or sample.labels["decision"]
                    found[metric.name, kind] += int(sample.value)
    return found


def test_claims_refused_for_haste_are_counted_and_not_timed() -> None:
    desk = Desk(is_open=True)

    for coupon_id in (1, 1, 2):
        desk.refused_for_haste(coupon_id)
    found = _by_coupon(merged(desk.fetch()))

    assert found[1] == Figures(answers={"TOO_MANY_REQUESTS": 2})
    assert found[2] == Figures(answers={"TOO_MANY_REQUESTS": 1})
    assert desk.fetch() == []


def test_where_nobody_fetches_nothing_is_kept() -> None:
    desk = Desk()

    desk.answered([1], ["ACCEPTED"], [0.1])
    desk.decided([(1, "ISSUED")])
    desk.refused_for_haste(1)

    assert not desk.lying
    assert not desk.hasty


def test_a_tally_of_a_second_that_is_written_counts_in_the_next() -> None:
    desk = Desk(is_open=True)
    desk.answered([1], ["ACCEPTED"], [0.1])
    [tally] = desk.fetch()
    assert isinstance(tally, Answered)

    [(_, second)] = merged([tally], not_before=tally.second + 1)

    assert second == tally.second + 1


def test_waiting_of_two_processes_is_one_gates_count_and_not_their_sum() -> None:
    figures = Figures(waiting=40)
    figures.add(Figures(waiting=50))
    figures.add(Figures())
    assert figures.waiting == 50


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.0005, 0), (0.00051, 1), (1e9, len(BOUNDS_S))])
def test_buckets_hold_what_is_up_to_their_bound(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


def test_the_bounds_in_rows_of_earlier_years_still_mean_the_same() -> None:
    assert BOUNDS_S[0] == 0.0005
    assert BOUNDS_S[10] == pytest.approx(0.0288325)
    assert len(BOUNDS_S) >= 28


class TestPercentiles:
    def test_none_without_answers(self) -> None:
        assert percentile_s({}, 0.5) is None

    def test_it_lies_in_the_bucket_of_that_answer(self) -> None:
        buckets = {2: 98, 9: 2}
        assert BOUNDS_S[1] < (percentile_s(buckets, 0.5) or 0) < BOUNDS_S[2]
        assert BOUNDS_S[8] < (percentile_s(buckets, 0.99) or 0) < BOUNDS_S[9]

    def test_beyond_the_last_bound_it_is_the_last_bound(self) -> None:
        assert percentile_s({len(BOUNDS_S): 3}, 0.99) == BOUNDS_S[-1]


def _by_coupon(found: dict[tuple[int, int], Figures]) -> dict[int, Figures]:
    total: dict[int, Figures] = {}
    for (coupon_id, _), figures in found.items():
        total.setdefault(coupon_id, Figures()).add(figures)
    return total
