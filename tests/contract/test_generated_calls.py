"""Thousands of calls that schemathesis makes from the OpenAPI document, chains of calls among them.

Each answer must be as documented (status, code, headers, every field), and none may be a 5xx. CI makes 2,000,
a half of them on each stack; `make generated-calls` makes 10,000 (COUPON_GENERATED_CALLS).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from django.utils import timezone

from coupons.models import IssueOutcome
from coupons.outcomes import Code, DeadLetterReason, RequestStatus
from dev.processes import PROJECT
from tests.factories import make_coupon, make_users
from tests.system import System

_HOOKS = "tests.contract.generated_calls"
_CALLS = int(os.environ.get("COUPON_GENERATED_CALLS", "1000"))
#: Of each operation and of chains in one run; how many calls that makes differs, for hypothesis ends when it
#: finds nothing new.
_EXAMPLES = 100
#: A run makes 300 to 800 calls.
_MOST_RUNS = 1 + _CALLS // 200


@pytest.fixture
def known(running: System) -> dict[str, str]:
    """Rows for the hooks: coupons of every kind, users, requests of every status."""
    coupons = [make_coupon(stock=100_000).pk for _ in range(3)]
    coupons += [make_coupon(stock=0).pk, make_coupon(coupon_status="CLOSED").pk]
    users = make_users(_CALLS)
    issued = running.claim(coupons[0], users[-1]).body["requestId"]
    running.wait_decided([issued])
    requests = [issued, str(_outcome(RequestStatus.REJECTED, Code.OUT_OF_STOCK)), str(_dead_letter())]
    return {
        "KNOWN_COUPONS": ",".join(map(str, coupons)),
        "KNOWN_USERS": ",".join(map(str, users)),
        "KNOWN_REQUESTS": ",".join(requests),
    }


def _outcome(status: RequestStatus, reason: Code | DeadLetterReason, **ids: int) -> uuid.UUID:
    named = {"coupon_id": 1, "user_id": 1, "requested_at": timezone.now()} | ids
    row = IssueOutcome.objects.create(request_id=uuid.uuid4(), status=status, reason=reason, **named)
    return row.request_id


def _dead_letter() -> uuid.UUID:
    return _outcome(RequestStatus.FAILED, DeadLetterReason.UNSTORABLE, kafka_partition=0, kafka_offset=1)


def run(system: System, known: dict[str, str], folder: Path) -> int:
    """One run, with a seed of its own; returns how many calls it made, all of them answered as documented."""
    report = folder / "report.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run",
            f"http://127.0.0.1:{system.api.port}/api/schema?lang=en", "--max-examples", str(_EXAMPLES),
            "--workers", "4", "--no-shrink", "--no-color", "--suppress-health-check", "all",
            "--generation-database", "none", "--report", "json", "--report-json-path", str(report),
        ],
        cwd=folder,  # it keeps a folder there
        env={**os.environ, **known, "PYTHONPATH": str(PROJECT), "SCHEMATHESIS_HOOKS": _HOOKS},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert {phase["status"] for phase in told["phases"].values()} == {"success"}
    return int(told["test_cases"]["generated"])


def test_every_generated_call_is_answered_as_documented(
    running: System, known: dict[str, str], tmp_path: Path
) -> None:
    calls = runs = 0
    while calls < _CALLS and runs < _MOST_RUNS:
        calls += run(running, known, tmp_path)
        runs += 1

    assert calls >= _CALLS
