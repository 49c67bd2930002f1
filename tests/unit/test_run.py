"""What `make test` makes of a stack that could not be started."""

import pytest

from tests.run import Run


@pytest.mark.parametrize(
    ("stack", "exit_code", "variables", "passed"),
    [
        ("services", 0, {}, True),
        ("services", 1, {}, False),
        ("services", 4, {}, True),
        ("services", 4, {"CI": "true"}, False),
        ("services", 4, {"SERVICES_DATABASE": "mysql"}, False),
        ("services", 4, {"COUPON_TEST_STACK": "services"}, False),
        ("embedded", 4, {}, False),
        ("given", 4, {"COUPON_TEST_STACK": "given"}, False),
    ],
)
def test_only_services_that_nobody_asked_for_may_be_missing(
    stack: str, exit_code: int, variables: dict[str, str], passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI", "SERVICES_DATABASE", "COUPON_TEST_STACK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run = Run(stack=stack, lane=1, exit_code=exit_code, told="", servers="", seconds=1.0, output="")

    assert run.passed is passed
