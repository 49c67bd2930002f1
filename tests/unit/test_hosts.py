"""Which Host is ours, as Django decides it but for underscores and requests without one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import DisallowedHost

from coupons.api import hosts
from couponsite.doors import Doors

Environ = dict[str, Any]


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.is_ours.cache_clear()
    monkeypatch.setattr(hosts, "refusals", hosts.Refusals())


def asked(**named: Any) -> Environ:
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/page",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "wsgi.input": io.BytesIO(),
        "HTTP_ACCEPT_LANGUAGE": "en",
    } | named


def others(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("299 Page", [])
    return [hosts.OurRequest(environ).get_host().encode()]


def ask(**named: Any) -> tuple[str, bytes]:
    statuses: list[str] = []
    body = b"".join(Doors(others)(asked(**named), lambda status, headers: statuses.append(status)))
    return statuses[0], body


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:1", "[::1]:8080"])
def test_a_host_of_ours_is_served(host: str) -> None:
    assert ask(HTTP_HOST=host) == ("299 Page", host.encode())


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "\x00", "localhost@elsewhere.example", "local_host", "a b", "_"]
)
def test_a_foreign_host_is_refused_and_told_the_setting(host: str) -> None:
    status, body = ask(HTTP_HOST=host)

    assert status == "400 Bad Request"
    answer = json.loads(body)
    assert answer["code"] == "INVALID_REQUEST"
    assert "ALLOWED_HOSTS" in answer["message"]


@pytest.mark.parametrize("host", ["coupon_api", "coupon_api:8080", "my_shop.example", "elsewhere.example"])
def test_where_all_hosts_are_allowed_an_underscore_is_too(host: str, settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["*"]

    assert ask(HTTP_HOST=host) == ("299 Page", host.encode())


def test_a_name_with_an_underscore_can_be_allowed(settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["coupon_api", ".my_shop.example"]

    assert ask(HTTP_HOST="coupon_api:8080")[0] == "299 Page"
    assert ask(HTTP_HOST="a.my_shop.example")[0] == "299 Page"
    assert ask(HTTP_HOST="coupon-api:8080")[0] == "400 Bad Request"


@pytest.mark.parametrize("named", [{}, {"HTTP_HOST": ""}])
def test_without_a_host_the_address_is_asked(named: dict[str, str], settings: LazySettings) -> None:
    assert ask(**named) == ("299 Page", b"127.0.0.1:8080")
    assert ask(SERVER_NAME="10.1.2.3", **named)[0] == "400 Bad Request"

    settings.ALLOWED_HOSTS = ["*"]
    hosts.is_ours.cache_clear()
    assert ask(SERVER_NAME="10.1.2.3", **named)[0] == "299 Page"


def test_refusals_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        for number in range(50):
            ask(HTTP_HOST=f"host{number}.example")
        [message] = caplog.messages
        assert "ALLOWED_HOSTS" in message
        assert "host0.example" in message

        monkeypatch.setattr(hosts, "LOG_EVERY_S", 0.0)
        ask(HTTP_HOST="last.example")
    assert caplog.messages[1].startswith("50 requests refused")


def test_a_refusal_repeats_no_more_than_a_names_letters() -> None:
    _, body = ask(HTTP_HOST="<b>\x1b[31m\xff" + "x" * 10_000)

    assert len(body) < 400
    assert b"\\u001b" not in body


def test_django_is_asked_the_same_question(settings: LazySettings) -> None:
    with pytest.raises(DisallowedHost):
        hosts.OurRequest(asked(HTTP_HOST="elsewhere.example")).get_host()
