"""The operations port: health, metrics and the admin there, the API alone on the public port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.processes import free_port
from tests.factories import make_coupon, make_users
from tests.system import Process, System, ask, eventually

HIDDEN = [
    "/actuator/health",
    "/actuator/prometheus",
    "/admin/",
    "/admin/login/",
    "/static/admin/css/base.css",
]
PUBLIC = ["/api/docs", "/api/schema"]


@pytest.fixture
def two_ports(running: System) -> Iterator[tuple[Process, int]]:
    """An API with an operations port; that port."""
    operations = free_port()
    api = running.new_api(COUPON_API_OPERATIONS_PORT=str(operations))
    api.start()
    try:
        eventually(
            lambda: ask(operations, "GET", "/actuator/health/readiness").status == 200,
            within_s=30,
            what=lambda: "not ready",
        )
        yield api, operations
    finally:
        api.kill()


def test_each_port_answers_what_is_for_it(two_ports: tuple[Process, int]) -> None:
    api, operations = two_ports
    [user] = make_users(1)
    coupon = make_coupon(stock=1)

    for path in [*HIDDEN, "/", "//actuator/health", "/%61ctuator/health", "/api/../actuator/health"]:
        answer = ask(api.port, "GET", path)
        assert (answer.status, answer.code) == (404, "NOT_FOUND"), path
    for path in HIDDEN:
        assert ask(operations, "GET", path).status in (200, 302), path
    for path in PUBLIC:
        assert ask(api.port, "GET", path).status == 200, path
    claim = ask(api.port, "POST", f"/api/coupons/{coupon.pk}/issue?userId={user}")
    assert claim.status == 202


def test_a_body_for_a_hidden_path_disturbs_nothing(two_ports: tuple[Process, int]) -> None:
    api, _ = two_ports

    answer = ask(api.port, "POST", "/admin/login/", body=b"username=admin&password=x")

    assert (answer.status, answer.code) == (404, "NOT_FOUND")
