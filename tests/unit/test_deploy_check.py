"""`manage.py check --deploy` says what is weak about tickets and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from coupons.tickets import deploy_check
from runtime.config.language import Language
from runtime.operator_language import spoken
from tests.tickets import SECRET, identity, private_key, public_pem


def found(**settings: Any) -> set[str | None]:
    with identity(**settings):
        checks = run_checks(tags=["security"], include_deployment_checks=True)
    return {check.id for check in checks if check.id and check.id.startswith("coupons.")}


def test_good_keys_are_no_finding(tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_text(public_pem(private_key("RS256")))

    assert found() == set()
    assert found(secret=SECRET, keys_file=str(file), jwks="https://login.kr/jwks") == set()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"secret": "short"}, "coupons.E010"),
        ({"secret": "changeme" * 8}, "coupons.E010"),
        ({"secret": f"{SECRET}\nshort"}, "coupons.E010"),
        ({"secret": SECRET, "office_keys": "nonsense"}, "coupons.E011"),
        ({"jwks": "http://login.kr/jwks"}, "coupons.W010"),
    ],
)
def test_what_is_weak_is_said(settings: dict[str, Any], expected: str) -> None:
    assert found(**settings) == {expected}


@pytest.mark.parametrize(
    "settings",
    [{"secret": "short"}, {"secret": SECRET, "office_keys": "nonsense"}, {"jwks": "http://login.kr/jwks"}],
)
def test_a_preflight_is_told_it_in_korean(settings: dict[str, Any]) -> None:
    with identity(**settings), spoken(Language.KOREAN):
        [told] = deploy_check.identity()

    assert "니다" in told.msg
    assert " is " not in told.msg


def test_a_key_file_without_a_key_is_said(tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_text("nonsense")

    assert found(keys_file=str(file)) == {"coupons.E011"}


def test_a_login_on_this_machine_may_be_asked_in_clear_text() -> None:
    assert found(jwks="http://localhost:9000/jwks") == set()
