"""How many are traced, and what a header line must be to count."""

from __future__ import annotations

import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision

from runtime.tracing import Bounded, parent_in, parent_in_message

GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_no_more_than_so_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 7.9
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sampler = Bounded(2)

    first = [sampler.should_sample(None, 1, "claim").decision for _ in range(3)]
    now = 8.0
    later = sampler.should_sample(None, 1, "claim").decision

    assert first == [Decision.RECORD_AND_SAMPLE, Decision.RECORD_AND_SAMPLE, Decision.DROP]
    assert later is Decision.RECORD_AND_SAMPLE


def test_a_callers_trace_is_gone_on_with_without_what_anybody_may_add_to_it() -> None:
    parent = parent_in({b"traceparent": GOOD, b"tracestate": b"shop=7", b"host": b"a.kr"})
    in_message = parent_in_message({"traceparent": GOOD, "tracestate": b"shop=7"})

    assert parent is not None
    assert in_message is not None
    found = trace.get_current_span(parent).get_span_context()
    assert (f"{found.trace_id:x}".zfill(32), found.trace_flags.sampled) == (GOOD.decode()[3:35], True)
    assert not found.trace_state
    assert trace.get_current_span(in_message).get_span_context() == found
    assert Bounded(1).should_sample(parent, 1, "claim").trace_state == found.trace_state


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"x",
        b"\xff" * 60,
        GOOD + b"-more",
        GOOD + b"," + GOOD,  # the line came twice
        GOOD.upper(),
        b"ff" + GOOD[2:],
        b"00-" + b"0" * 32 + GOOD[35:],
        GOOD[:36] + b"0" * 16 + GOOD[52:],
        GOOD * 1000,
    ],
)
def test_what_is_no_trace_counts_as_none(wrong: bytes) -> None:
    """Else whoever sends nonsense would have each of their claims traced, whatever the ratio."""
    assert parent_in({b"traceparent": wrong}) is None
    assert parent_in_message({"traceparent": wrong}) is None


def test_without_the_line_there_is_none() -> None:
    assert parent_in({}) is None
    assert parent_in_message({"tracestate": b"shop=7"}) is None
