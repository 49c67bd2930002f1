"""Which Host is ours, as Django decides it but for underscores and requests without one."""

from __future__ import annotations

import json
import logging

import pytest
from django.conf import LazySettings
from django.core.exceptions import DisallowedHost

from coupons.api import hosts
from couponsite.doors import Doors
from runtime.http.environ import environ_of
from runtime.http.reply import Reply
from runtime.http.request import Request
from tests.asking import Client, request_of


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.is_ours.cache_clear()
    monkeypatch.setattr(hosts, "refusals", hosts.Refusals())


class Page:
    """Stands in for Django's pages: shows the host that Django would see."""

    def serve(self, request: Request) -> None:
        host = hosts.OurRequest(environ_of(request)).get_host()
        request.answer(Reply.of(200, host.encode("latin1")))


def ask(host: str | None, *, address: str = "127.0.0.1") -> tuple[int, bytes]:
    client = Client(address=(address, 8080))
    doors = Doors(lambda environ, start_response: [])
    doors.pages = Page()
    headers = {"Accept-Language": "en"} | ({} if host is None else {"Host": host})
    doors.serve(request_of(client, "GET", "/page", headers=headers))
    return client.reply.status, client.reply.body


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:1", "[::1]:8080"])
def test_a_host_of_ours_is_served(host: str) -> None:
    assert ask(host) == (200, host.encode())


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "\x00", "localhost@elsewhere.example", "local_host", "a b", "_"]
)
def test_a_foreign_host_is_refused_and_told_the_setting(host: str) -> None:
    status, body = ask(host)

    assert status == 400
    answer = json.loads(body)
    assert answer["code"] == "INVALID_REQUEST"
    assert "ALLOWED_HOSTS" in answer["message"]


@pytest.mark.parametrize("host", ["coupon_api", "coupon_api:8080", "my_shop.example", "elsewhere.example"])
def test_where_all_hosts_are_allowed_an_underscore_is_too(host: str, settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["*"]

    assert ask(host) == (200, host.encode())


def test_a_name_with_an_underscore_can_be_allowed(settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["coupon_api", ".my_shop.example"]

    assert ask("coupon_api:8080")[0] == 200
    assert ask("a.my_shop.example")[0] == 200
    assert ask("coupon-api:8080")[0] == 400


@pytest.mark.parametrize("host", [None, ""])
def test_without_a_host_the_address_is_asked(host: str | None, settings: LazySettings) -> None:
    assert ask(host) == (200, b"127.0.0.1:8080")
    assert ask(host, address="10.1.2.3")[0] == 400

    settings.ALLOWED_HOSTS = ["*"]
    hosts.is_ours.cache_clear()
    assert ask(host, address="10.1.2.3")[0] == 200


def test_refusals_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        for number in range(50):
            ask(f"host{number}.example")
        [message] = caplog.messages
        assert "ALLOWED_HOSTS" in message
        assert "host0.example" in message

        monkeypatch.setattr(hosts, "LOG_EVERY_S", 0.0)
        ask("last.example")
    assert caplog.messages[1].startswith("50 requests refused")


def test_a_refusal_repeats_no_more_than_a_names_letters() -> None:
    _, body = ask("<b>\x1b[31m\xff" + "x" * 10_000)

    assert len(body) < 400
    assert b"\\u001b" not in body


def test_django_is_asked_the_same_question(settings: LazySettings) -> None:
    request = request_of(Client(), "GET", "/page", headers={"Host": "elsewhere.example"})

    with pytest.raises(DisallowedHost):
        hosts.OurRequest(environ_of(request)).get_host()
