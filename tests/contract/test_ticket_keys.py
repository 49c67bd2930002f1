"""Keys of the shop's login that change, are away or hang, under the real server: nobody else waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coupons.tickets import office_keys
from coupons.tickets.office_keys import Scope
from tests.factories import make_coupon, make_users
from tests.jwks_server import JwksServer
from tests.system import HttpAnswer, Process, System, ask, eventually
from tests.tickets import SECRET, jwks, private_key, public_jwk, public_pem, ticket_for

OLD, NEW = private_key("EdDSA"), private_key("EdDSA", number=1)


@contextmanager
def guarded(running: System, **settings: str) -> Iterator[Process]:
    """An API on the same system with one worker: what one claim learns the next one knows."""
    api = running.new_api(COUPON_API_WORKERS="1", **settings)
    try:
        api.start()
        eventually(lambda: ask(api.port, "GET", "/actuator/health/readiness").status == 200, within_s=30)
        yield api
    finally:
        api.kill()


def claim(api: Process, coupon_id: int, user: int, token: str) -> HttpAnswer:
    path = f"/api/coupons/{coupon_id}/issue?userId={user}"
    return ask(api.port, "POST", path, headers={"Authorization": f"Bearer {token}"})


def signed(user: int, key: Any, kid: str) -> str:
    return ticket_for(user, algorithm="EdDSA", key=key, headers={"kid": kid})


def test_a_key_that_is_new_in_the_jwks_is_fetched_while_its_claims_wait(
    running: System, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is refused, though nobody told the API; the second unknown name is too soon, and is refused."""
    coupon, users = make_coupon(), make_users(23)
    with JwksServer(jwks(public_jwk(OLD, "old"))) as server:
        with guarded(running, COUPON_TICKET_JWKS=server.address) as api:
            assert claim(api, coupon.pk, users[0], signed(users[0], OLD, "old")).status == 202
            time.sleep(10.5)  # since the last fetch
            server.text = jwks(public_jwk(OLD, "old"), public_jwk(NEW, "new"))

            with ThreadPoolExecutor(20) as crowd:
                answers = crowd.map(
                    lambda user: claim(api, coupon.pk, user, signed(user, NEW, "new")), users[1:21]
                )
                assert [answer.status for answer in answers] == [202] * 20
            assert server.asked == 2

            forged = claim(api, coupon.pk, users[21], signed(users[21], NEW, "newest"))
            assert (forged.status, forged.code) == (401, "TICKET_FOREIGN")
            assert server.asked == 2
        server.answer_with("500")
        with guarded(running, COUPON_TICKET_JWKS=server.address) as api:
            answer = claim(api, coupon.pk, users[22], signed(users[22], NEW, "new"))
            assert (answer.status, answer.code) == (503, "SIGNER_UNAVAILABLE")
            assert answer.headers["Retry-After"]


def test_a_login_that_hangs_holds_up_nobody(running: System) -> None:
    """The loop answers claims with known keys while a fetch hangs, and the waiting claim is answered too."""
    coupon, users = make_coupon(), make_users(30)
    with (
        JwksServer(jwks(public_jwk(OLD, "old"))) as server,
        guarded(running, COUPON_TICKET_JWKS=server.address) as api,
    ):
        assert claim(api, coupon.pk, users[0], signed(users[0], OLD, "old")).status == 202
        time.sleep(10.5)
        server.answer_with("hang")
        with ThreadPoolExecutor(2) as crowd:
            waiting = crowd.submit(claim, api, coupon.pk, users[1], signed(users[1], NEW, "new"))
            reading = crowd.submit(
                ask,
                api.port,
                "GET",
                f"/api/coupons/users/{users[1]}",
                headers={"Authorization": f"Bearer {signed(users[1], NEW, 'new')}"},
            )
            eventually(lambda: server.asked == 2)
            answered = 0
            while not waiting.done() and answered < 25:
                user = users[2 + answered]
                assert claim(api, coupon.pk, user, signed(user, OLD, "old")).status == 202
                answered += 1

            assert answered == 25  # all of them while the first one still waited
            assert not waiting.done()
            answers = [waiting.result(), reading.result()]
            assert [answer.code for answer in answers] == ["SIGNER_UNAVAILABLE"] * 2


def test_files_are_read_again_without_a_restart(running: System, tmp_path: Path) -> None:
    coupon, users = make_coupon(), make_users(6)
    keys, secret, office = tmp_path / "keys.pem", tmp_path / "secret", tmp_path / "office"
    keys.write_text(public_pem(OLD))
    secret.write_text(SECRET)
    office.write_text("")
    settings = {
        "COUPON_TICKET_KEYS": str(keys),
        "COUPON_IDENTITY_SECRET_FILE": str(secret),
        "COUPON_OFFICE_KEYS_FILE": str(office),
    }
    with guarded(running, **settings) as api:
        token = ticket_for(users[0], algorithm="EdDSA", key=NEW)
        assert claim(api, coupon.pk, users[0], token).code == "TICKET_FOREIGN"
        keys.write_text(public_pem(OLD, NEW))
        eventually(lambda: claim(api, coupon.pk, users[0], token).status == 202)

        other = "e09d6a3b5c1f7284" * 4
        token = ticket_for(users[1], key=other)
        assert claim(api, coupon.pk, users[1], token).code == "TICKET_FOREIGN"
        secret.write_text(f"{SECRET}\n{other}\n")
        eventually(lambda: claim(api, coupon.pk, users[1], token).status == 202)
        assert claim(api, coupon.pk, users[2], ticket_for(users[2])).status == 202

        key, kept = office_keys.new("crm", [Scope.USERS_READ])
        path, headers = f"/api/coupons/users/{users[0]}", {"X-API-Key": key}
        assert ask(api.port, "GET", path, headers=headers).code == "OFFICE_KEY_UNKNOWN"
        office.write_text(kept.line())
        eventually(lambda: ask(api.port, "GET", path, headers=headers).status == 200)
        office.write_text("")
        eventually(lambda: ask(api.port, "GET", path, headers=headers).code == "OFFICE_KEY_UNKNOWN")


def test_a_start_with_keys_that_are_none_is_one_line(running: System, tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_text("nonsense")
    api = running.new_api(COUPON_TICKET_KEYS=str(file))
    api.start()
    try:
        assert api.wait(within_s=40) != 0
    finally:
        api.kill()
    lines = [line for line in api.log.read_text().splitlines() if line.strip()]
    assert lines == ['COUPON_TICKET_KEYS: no key: neither "-----BEGIN PUBLIC KEY-----" nor a JWKS']
