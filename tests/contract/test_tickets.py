"""Identity on, through the real server: what each credential may do, and that nobody learns of another."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coupons.tickets import office_keys
from coupons.tickets.office_keys import Scope
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, Process, System, ask, eventually
from tests.tickets import SECRET, private_key, public_pem, ticket_for

KEYS = {scope: office_keys.new(f"crm-{scope.value.partition(':')[0]}", [scope]) for scope in Scope}
NOWHERE = "0199f3c0-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def guarded(running: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """An API on the same system, where identity is on."""
    folder: Path = tmp_path_factory.mktemp("keys")
    (folder / "keys.pem").write_text(public_pem(private_key("RS256"), private_key("EdDSA")))
    api = running.new_api(
        COUPON_IDENTITY_SECRET=SECRET,
        COUPON_TICKET_KEYS=str(folder / "keys.pem"),
        COUPON_OFFICE_KEYS="\n".join(kept.line() for _, kept in KEYS.values()),
    )
    api.start().wait_ready()
    yield api
    api.kill()


def bearer(user_id: object, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {ticket_for(user_id, **more)}"}


def office(scope: Scope) -> dict[str, str]:
    return {"X-API-Key": KEYS[scope][0]}


def old(user_id: int) -> dict[str, str]:
    return {"X-User-Token": hmac.new(SECRET.encode(), str(user_id).encode(), hashlib.sha256).hexdigest()}


def claim(api: Process, coupon_id: int, user_id: int, headers: dict[str, str]) -> HttpAnswer:
    return ask(api.port, "POST", f"/api/coupons/{coupon_id}/issue?userId={user_id}", headers=headers)


def get(api: Process, path: str, headers: dict[str, str], method: str = "GET") -> HttpAnswer:
    return ask(api.port, method, path, headers=headers)


def like(answer: HttpAnswer) -> tuple[int, dict[str, str], Any]:
    """What a client can compare."""
    headers = {name: value for name, value in answer.headers.items() if name != "Date"}
    return answer.status, headers, answer.body


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA"])
def test_a_user_with_a_ticket_claims_and_reads_what_is_theirs(guarded: Process, algorithm: str) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    key = SECRET if algorithm == "HS256" else private_key(algorithm)
    mine = bearer(user, algorithm=algorithm, key=key, couponId=coupon.pk)

    accepted = claim(guarded, coupon.pk, user, mine)

    assert accepted.status == 202
    path = accepted.headers["Location"]
    eventually(lambda: get(guarded, path, mine).body["status"] == "ISSUED")
    assert get(guarded, path, mine).body["userId"] == user
    assert [
        held["couponId"] for held in get(guarded, f"/api/coupons/users/{user}", mine).body["userCoupons"]
    ] == [coupon.pk]
    again = claim(guarded, coupon.pk, user, mine)
    assert (again.code, again.body["requestId"]) == ("ALREADY_REQUESTED", accepted.body["requestId"])


REFUSALS: list[tuple[dict[str, str] | None, dict[str, Any] | None, int, str]] = [
    ({}, None, 401, "TICKET_MISSING"),
    ({"Authorization": "Basic dTpw"}, None, 401, "TICKET_MISSING"),
    ({"Authorization": "Bearer"}, None, 401, "TICKET_MISSING"),
    ({"Authorization": "Bearer nonsense"}, None, 401, "TICKET_MALFORMED"),
    ({"Authorization": "Bearer " + "a" * 10_000}, None, 401, "TICKET_MALFORMED"),
    (None, {"key": "b00c" * 16}, 401, "TICKET_FOREIGN"),
    (None, {"exp": time.time() - 3600}, 401, "TICKET_EXPIRED"),
    (None, {"nbf": time.time() + 3600}, 401, "TICKET_NOT_YET_VALID"),
    (None, {"sub": "999999"}, 403, "TICKET_OF_ANOTHER_USER"),
    (None, {"couponId": 999_999}, 403, "TICKET_FOR_ANOTHER_COUPON"),
    ({"X-API-Key": "office_nobodys"}, None, 401, "OFFICE_KEY_UNKNOWN"),
    ({"X-API-Key": KEYS[Scope.USERS_READ][0]}, None, 403, "SCOPE_MISSING"),
    ({"X-User-Token": "0" * 64}, None, 403, "IDENTITY_NOT_PROVEN"),
]


@pytest.mark.parametrize(("headers", "claims", "status", "code"), REFUSALS)
def test_a_claim_without_its_users_proof_is_told_why(
    guarded: Process,
    headers: dict[str, str] | None,
    claims: dict[str, Any] | None,
    status: int,
    code: str,
) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    given = bearer(user, **(claims or {})) if headers is None else headers

    korean = claim(guarded, coupon.pk, user, given)
    english = claim(guarded, coupon.pk, user, {**given, "Accept-Language": "en"})

    assert (korean.status, korean.code) == (english.status, english.code) == (status, code)
    assert english.body["message"].isascii()
    assert not korean.body["message"].isascii()
    challenge = korean.headers.get("WWW-Authenticate", "")
    assert challenge.startswith('Bearer realm="coupons"') == (status == 401 or code == "SCOPE_MISSING")
    assert ("invalid_token" in challenge) == (status == 401 and code != "TICKET_MISSING")
    assert ("insufficient_scope" in challenge) == (code == "SCOPE_MISSING")
    assert claim(guarded, coupon.pk, user, bearer(user)).status == 202  # nothing was reserved meanwhile


def test_two_tickets_are_none(guarded: Process) -> None:
    """Another reader of the request might take the other one."""
    import socket

    coupon, [user] = make_coupon(), make_users(1)
    lines = [f"POST /api/coupons/{coupon.pk}/issue?userId={user} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {ticket_for(each)}" for each in (user, user + 1)]
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("way", ["ticket", "old"])
def test_nobody_sees_what_is_anothers_nor_whether_it_is_there(guarded: Process, way: str) -> None:
    coupon, [owner, other] = make_coupon(), make_users(2)
    accepted = claim(guarded, coupon.pk, owner, bearer(owner))
    path = accepted.headers["Location"]
    eventually(lambda: get(guarded, path, bearer(owner)).body["status"] == "ISSUED")
    theirs = bearer(other) if way == "ticket" else old(other)
    nobody = 2**62

    for method in ("GET", "HEAD"):
        there = get(guarded, path, theirs, method)
        not_there = get(guarded, f"/api/coupons/requests/{NOWHERE}", theirs, method)
        assert there.status == not_there.status == 404
        request_id = accepted.body["requestId"]
        assert json.loads(json.dumps(like(there)).replace(request_id, NOWHERE)) == json.loads(
            json.dumps(like(not_there))
        )
        coupons = [get(guarded, f"/api/coupons/users/{user}", theirs, method) for user in (owner, nobody)]
        assert [answer.status for answer in coupons] == [403, 403]
        assert like(coupons[0]) == like(coupons[1])
    assert get(guarded, path, bearer(owner)).body["userId"] == owner


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"X-API-Key": "x"}])
def test_who_proves_nothing_is_told_nothing(guarded: Process, headers: dict[str, str]) -> None:
    coupon, [owner] = make_coupon(), make_users(1)
    path = claim(guarded, coupon.pk, owner, bearer(owner)).headers["Location"]

    for there, not_there in [
        (path, f"/api/coupons/requests/{NOWHERE}"),
        (f"/api/coupons/users/{owner}", f"/api/coupons/users/{2**62}"),
        (f"/api/coupons/%75sers/{owner}", f"/api/coupons/%75sers/{2**62}"),
    ]:
        answers = [get(guarded, each, headers) for each in (there, not_there)]
        assert answers[0].status == 401
        assert like(answers[0]) == like(answers[1])


def test_anothers_request_takes_as_long_as_one_that_is_not_there(running: System, guarded: Process) -> None:
    """Undecided, decided or unknown: each waits for a reading of the log, which the owner does not."""
    coupon, [owner, other] = make_coupon(), make_users(2)
    with running.consumers[0].paused():
        pending = claim(guarded, coupon.pk, owner, bearer(owner)).headers["Location"]
        assert get(guarded, pending, bearer(owner)).body["status"] == "PENDING"

        assert get(guarded, pending, bearer(other)).status == 404

    eventually(lambda: get(guarded, pending, bearer(owner)).body["status"] == "ISSUED")


def test_the_back_office_does_what_its_keys_are_for(running: System, guarded: Process) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    accepted = claim(guarded, coupon.pk, user, office(Scope.CLAIMS_WRITE))
    assert accepted.status == 202
    path = accepted.headers["Location"]
    eventually(lambda: get(guarded, path, office(Scope.REQUESTS_READ)).body["status"] == "ISSUED")
    assert len(get(guarded, f"/api/coupons/users/{user}", office(Scope.USERS_READ)).body["userCoupons"]) == 1

    for scope in Scope:
        told = [
            get(guarded, path, office(scope)).status,
            get(guarded, f"/api/coupons/users/{user}", office(scope)).status,
        ]
        expected = [200 if scope is wanted else 403 for wanted in (Scope.REQUESTS_READ, Scope.USERS_READ)]
        assert told == expected
    log = running.log_text("core")
    assert f"the office key crm-claims: claims for user {user}" in log
    assert f"the office key crm-users: the coupons of user {user}" in log
    assert KEYS[Scope.USERS_READ][0] not in log


def test_what_tells_of_nobody_is_open(guarded: Process) -> None:
    coupon = make_coupon()

    for path in (f"/api/coupons/{coupon.pk}", f"/api/coupons/{coupon.pk}/queue-size", "/api/schema"):
        assert get(guarded, path, {}).status == 200


def test_the_header_before_tickets_is_read_with_a_warning(running: System, guarded: Process) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    accepted = claim(guarded, coupon.pk, user, old(user))
    assert accepted.status == 202
    path = accepted.headers["Location"]
    eventually(lambda: get(guarded, path, old(user)).body["status"] == "ISSUED")
    answers = [accepted, get(guarded, path, old(user)), get(guarded, f"/api/coupons/users/{user}", old(user))]
    answers.append(claim(guarded, coupon.pk, user, {"X-User-Token": "0"}))

    assert [answer.headers.get("Deprecation") for answer in answers] == ["@1795737600"] * 4
    assert claim(guarded, coupon.pk, user, bearer(user)).headers.get("Deprecation") is None
    lines = [line for line in running.log_text("core").splitlines() if "X-User-Token" in line]
    assert 1 <= len(lines) <= 2  # once a minute from each worker, however many there were


def test_a_good_ticket_goes_before_a_bad_old_header(guarded: Process) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    assert claim(guarded, coupon.pk, user, {**bearer(user), "X-User-Token": "0"}).status == 202
