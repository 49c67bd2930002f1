"""`manage.py check --deploy` finds nothing with the settings that docs/kubernetes.md and the chart give."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dev.processes import PROJECT

PRODUCTION = {
    "DEBUG": "false",
    "ALLOWED_HOSTS": "coupons.example.com",
    "COUPON_BEHIND_HTTPS": "true",
    "COUPON_HSTS_S": "31536000",
    "COUPON_HSTS_SUBDOMAINS": "true",
}


def findings(**changed: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=PROJECT,
        env={**os.environ, **PRODUCTION, **changed},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stderr if done.returncode else ""


def test_the_production_settings_are_clean() -> None:
    assert findings() == ""


@pytest.mark.parametrize(
    ("changed", "finding"),
    [({"COUPON_BEHIND_HTTPS": "false"}, "security.W012"), ({"DEBUG": "true"}, "security.W018")],
)
def test_the_check_looks(changed: dict[str, str], finding: str) -> None:
    assert finding in findings(**changed)
