"""Header lines for pages of other origins, where a request was not read to its end or cannot be answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings

from coupons.api import cors
from coupons.claim import Claim
from coupons.claims import batching
from coupons.claims.screening import Refused
from coupons.claims.submitting import Answer
from coupons.outcomes import Code
from couponsite.doors import Doors
from tests.asking import Client, request_of

SHOP = "https://shop-of-these-tests.example"


@pytest.fixture(autouse=True)
def _is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cors, "IS_ON", True)
    monkeypatch.setattr(settings, "CORS_ALLOWED_ORIGINS", [SHOP])


def doors() -> Doors:
    return Doors(lambda environ, start_response: [])


@pytest.mark.parametrize("status", [400, 408, 414, 417, 431, 500])
def test_a_refusal_knows_as_much_of_its_client_as_was_read(status: int) -> None:
    headers = {b"origin": SHOP.encode(), b"accept-language": b"en"}

    reply = doors().refusal(status, headers)

    assert reply.status == status
    assert reply.headers["access-control-allow-origin"] == SHOP
    assert reply.headers["Content-Language"] == "en"
    nothing_read = doors().refusal(status, {})
    assert "access-control-allow-origin" not in nothing_read.headers
    assert nothing_read.headers["Content-Language"] == "ko"


def test_a_claim_that_the_broker_does_not_take_is_told_to_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(claim: Claim, answer: Callable[[Answer | Exception], None]) -> None:
        answer(Refused(code=Code.BROKER_UNAVAILABLE))

    monkeypatch.setattr(batching, "submit", refuse)
    client = Client()
    headers = {"Host": "localhost", "Origin": SHOP}
    request = request_of(client, "POST", "/api/coupons/7/issue?userId=8", headers=headers)

    doors().serve(request)

    assert client.reply.status == 503
    sent = client.reply.wire(closes=False, more=request.answer_fields)
    assert f"access-control-allow-origin: {SHOP}\r\n".encode() in sent
    assert b"Retry-After: 2\r\n" in sent


def test_many_made_up_origins_are_forgotten() -> None:
    for number in range(3000):
        assert cors.fields_for_origin(f"https://{number}.example", "GET") == b""
    assert cors.fields_for_origin("https://" + "x" * 16_000, "GET") == b""
    assert cors.remembered() <= 1024
