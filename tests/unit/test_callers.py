"""Who asks, by the credentials of a request; tests/contract/test_tickets.py asks the real server."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import RequestFactory

from coupons.api import callers
from coupons.api.callers import Credentials
from coupons.errors import RefusedError
from coupons.outcomes import Code
from coupons.tickets.office_keys import Scope
from runtime.http.reply import Reply
from runtime.seldom import Seldom
from tests.asking import Client, request_of
from tests.tickets import SECRET, identity, ticket_for


@pytest.fixture
def _on() -> Iterator[None]:
    with identity(secret=SECRET):
        yield


def token_of(user_id: int) -> bytes:
    return hmac.new(SECRET.encode(), str(user_id).encode(), hashlib.sha256).hexdigest().encode()


def refused(credentials: Credentials, user_id: int = 7, coupon_id: int = 5) -> Code | None:
    try:
        callers.refuse_claim(credentials, user_id=user_id, coupon_id=coupon_id)
    except RefusedError as error:
        return error.code
    return None


def test_where_identity_is_off_anybody_may_name_any_user() -> None:
    headers = {"Authorization": "Bearer nonsense", "X-API-Key": "nonsense", "X-User-Token": "nonsense"}
    of_both = [
        callers.credentials_of(request_of(Client(), "POST", "/", headers=headers)),
        callers.credentials_in(RequestFactory().get("/", headers=headers)),
    ]
    for credentials in of_both:
        assert credentials is callers.UNASKED
        assert refused(credentials) is None
        assert callers.reader(credentials, Scope.USERS_READ, what="").may(1)
        assert not callers.is_old(credentials)


@pytest.mark.usefixtures("_on")
def test_whoever_brings_nothing_is_asked_all_the_same() -> None:
    """What they bring is empty, and so is what stands for an identity that is off."""
    of_both = [
        callers.credentials_of(request_of(Client(), "POST", "/")),
        callers.credentials_in(RequestFactory().get("/")),
    ]
    for credentials in of_both:
        assert credentials == callers.UNASKED
        assert refused(credentials) is Code.TICKET_MISSING


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_in_any_letters(scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {ticket_for(7)}"}

    assert refused(callers.credentials_of(request_of(Client(), "POST", "/", headers=headers))) is None
    asked = RequestFactory().get("/", headers=headers)
    assert callers.reader(callers.credentials_in(asked), Scope.USERS_READ, what="").may(7)


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize(
    ("user_id", "claims", "code"),
    [
        (7, {}, None),
        (7, {"couponId": 5}, None),
        (8, {}, Code.TICKET_OF_ANOTHER_USER),
        (8, {"couponId": 5}, Code.TICKET_OF_ANOTHER_USER),
        (7, {"couponId": 6}, Code.TICKET_FOR_ANOTHER_COUPON),
        (7, {"couponId": 0}, Code.TICKET_FOR_ANOTHER_COUPON),
    ],
)
def test_a_ticket_is_for_one_user_and_the_coupon_that_it_names(
    user_id: int, claims: dict[str, Any], code: Code | None
) -> None:
    given = Credentials(authorization=b"Bearer " + ticket_for(user_id, **claims).encode())

    assert refused(given) is code


@pytest.mark.usefixtures("_on")
def test_the_header_before_tickets_is_the_users_own_hmac() -> None:
    assert refused(Credentials(user_token=token_of(7))) is None
    assert refused(Credentials(user_token=token_of(7).upper())) is None
    assert refused(Credentials(user_token=token_of(8))) is Code.IDENTITY_NOT_PROVEN
    assert refused(Credentials(user_token="é".encode("latin1"))) is Code.IDENTITY_NOT_PROVEN
    assert refused(Credentials(user_token=b"")) is Code.TICKET_MISSING


def test_the_header_before_tickets_can_be_turned_off() -> None:
    with identity(secret=SECRET, old_header=False):
        assert refused(Credentials(user_token=token_of(7))) is Code.TICKET_MISSING


@pytest.mark.usefixtures("_on")
def test_a_ticket_is_no_hmac_and_the_other_way_round() -> None:
    """One secret signs both: neither can be taken for the other."""
    assert refused(Credentials(user_token=ticket_for(7).encode())) is Code.IDENTITY_NOT_PROVEN
    assert refused(Credentials(authorization=b"Bearer " + token_of(7))) is Code.TICKET_MALFORMED


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("who", [7, None])
def test_what_belongs_to_nobody_is_nobodys(who: int | None) -> None:
    """A request whose event cannot be read has no user."""
    for credentials in (
        Credentials(authorization=b"Bearer " + ticket_for(7).encode()),
        Credentials(user_token=token_of(7)),
    ):
        assert callers.reader(credentials, Scope.REQUESTS_READ, what="").may(who) == (who == 7)


@pytest.mark.usefixtures("_on")
def test_the_warning_changes_no_answer_that_others_get(caplog: pytest.LogCaptureFixture) -> None:
    """The reply of a sold-out coupon is one object for all."""
    shared, told = Reply.of(409, b"{}"), list[Reply]()
    callers.with_warning(told.append, Credentials(user_token=b"x"))(shared)
    callers.with_warning(told.append, callers.UNASKED)(shared)

    assert [reply.headers.get("Deprecation") for reply in told] == ["@1795737600", None]
    assert told[1] is shared


def test_the_warning_is_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(callers, "old_header_uses", Seldom())
    now = [1000.0]
    monkeypatch.setattr("runtime.seldom.time.monotonic", lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            callers.warn()
        now[0] += 61
        callers.warn()

    assert [record.args[0] for record in caplog.records if record.args] == [1, 1000]  # type: ignore[index]
