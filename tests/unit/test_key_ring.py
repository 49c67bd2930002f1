"""Keys change while the process runs: files that are written again, an address that is away or slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from coupons.outcomes import Code
from coupons.tickets import jwks as fetching
from coupons.tickets import key_ring, office_keys
from coupons.tickets.jwks import JwksAwayError
from coupons.tickets.key_ring import KeyRing
from coupons.tickets.office_keys import Scope
from coupons.tickets.ticket import TicketRefusedError
from runtime.config import ConfigError
from runtime.config.identity import IdentitySettings
from runtime.config.language import Language
from runtime.operator_language import say, spoken
from tests.jwks_server import JwksServer
from tests.system import eventually
from tests.tickets import SECRET, jwks, private_key, public_jwk, public_pem, ticket_for

OLD, NEW = private_key("EdDSA"), private_key("EdDSA", number=1)


def ticket_of(key: Any, kid: str | None = None) -> bytes:
    algorithm = "HS256" if isinstance(key, str) else "EdDSA"
    return ticket_for(algorithm=algorithm, key=key, headers={"kid": kid} if kid else None).encode()


def takes(ring: KeyRing, token: bytes) -> bool:
    try:
        return ring.check.ticket(token).user_id == 7
    except TicketRefusedError as error:
        if error.code is not Code.TICKET_FOREIGN:
            raise
        return False


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[KeyRing]]:
    """Rings to be closed; they look at files every few milliseconds, and ask again without a pause."""
    monkeypatch.setattr(key_ring, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(key_ring, "AT_LEAST_S", 0.0)
    made: list[KeyRing] = []
    yield made
    for ring in made:
        ring.close()


def started(rings: list[KeyRing], **given: Any) -> KeyRing:
    ring = KeyRing(IdentitySettings(**given))
    rings.append(ring)
    ring.start()
    return ring


def test_a_key_file_is_read_again(rings: list[KeyRing], tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_text(public_pem(OLD))
    ring = started(rings, keys_file=str(file))
    assert takes(ring, ticket_of(OLD))
    assert not takes(ring, ticket_of(NEW))

    file.write_text(public_pem(OLD, NEW))
    eventually(lambda: takes(ring, ticket_of(NEW)))
    assert takes(ring, ticket_of(OLD))

    other = tmp_path / "other.pem"  # as Kubernetes does it: another file in its place
    other.write_text(public_pem(NEW))
    other.replace(file)
    eventually(lambda: not takes(ring, ticket_of(OLD)))  # although it was remembered
    assert takes(ring, ticket_of(NEW))


@pytest.mark.parametrize("broken", [b"", b"nonsense", b"\xff\xfe", public_pem(OLD)[:60].encode(), None])
def test_a_file_that_is_broken_or_gone_changes_nothing(
    rings: list[KeyRing], tmp_path: Path, broken: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.pem"
    file.write_text(public_pem(OLD))
    ring = started(rings, keys_file=str(file))

    if broken is None:
        file.unlink()
        time.sleep(0.1)
    else:
        file.write_bytes(broken)
        eventually(lambda: "the keys from before stay valid" in caplog.text)
    assert takes(ring, ticket_of(OLD))

    file.write_text(public_pem(NEW))
    eventually(lambda: takes(ring, ticket_of(NEW)))


def test_a_secret_is_changed_through_two(rings: list[KeyRing], tmp_path: Path) -> None:
    new = "71c0e5d2a94b3f68" * 4
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    ring = started(rings, secret=SECRET, secret_file=str(file))
    assert takes(ring, ticket_of(SECRET))

    file.write_text(f"{SECRET}\n{new}\n")
    eventually(lambda: takes(ring, ticket_of(new)))
    assert takes(ring, ticket_of(SECRET))
    assert ring.secrets == (SECRET.encode(), new.encode())

    file.write_text(new)
    eventually(lambda: not takes(ring, ticket_of(SECRET)))


def test_a_weak_secret_does_not_come_in_by_the_file(
    rings: list[KeyRing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = replace(settings.CONFIG.site, debug=False)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, site=site))
    file = tmp_path / "secret"
    file.write_text(SECRET)
    ring = started(rings, secret=SECRET, secret_file=str(file))

    file.write_text("short")

    eventually(lambda: "has 5 characters" in caplog.text)
    assert takes(ring, ticket_of(SECRET))


def test_office_keys_come_and_go(rings: list[KeyRing], tmp_path: Path) -> None:
    key, kept = office_keys.new("crm", [Scope.USERS_READ])
    file = tmp_path / "office"
    file.write_text("# nobody yet\n")
    ring = started(rings, secret=SECRET, office_keys="# nobody yet\n", office_keys_file=str(file))
    assert ring.office.find(key.encode()) is None

    file.write_text(kept.line())
    eventually(lambda: ring.office.find(key.encode()) == kept)

    file.write_text("")
    eventually(lambda: ring.office.find(key.encode()) is None)


def test_the_address_is_asked_and_its_keys_change(rings: list[KeyRing]) -> None:
    with JwksServer(jwks(public_jwk(OLD, "old"))) as server:
        ring = started(rings, jwks=server.address)
        eventually(lambda: takes(ring, ticket_of(OLD, "old")))
        assert not takes(ring, ticket_of(NEW, "new"))

        server.text = jwks(public_jwk(NEW, "new"))
        fetched = threading.Event()
        assert ring.refresh_then(fetched.set)
        assert fetched.wait(10)

        assert takes(ring, ticket_of(NEW, "new"))
        assert not takes(ring, ticket_of(OLD, "old"))


@pytest.mark.parametrize("how", ["gone", "500", "html", "empty", "large", "redirect"])
def test_an_address_that_is_away_costs_no_key(
    rings: list[KeyRing], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """GHSA-fhv5-28vv-h8m8: a failed fetch must not throw away what was there."""
    with JwksServer(jwks(public_jwk(OLD, "old"))) as server:
        ring = started(rings, jwks=server.address)
        eventually(lambda: takes(ring, ticket_of(OLD, "old")))
        server.answer_with(how)
        server.text = jwks(public_jwk(NEW, "new"))  # where a redirect leads
        fetched = threading.Event()
        assert ring.refresh_then(fetched.set)
        assert fetched.wait(10)

    assert takes(ring, ticket_of(OLD, "old"))
    assert not takes(ring, ticket_of(NEW, "new"))
    assert not ring.is_reached  # a key that we do not have may be a new one
    assert "the keys from before stay valid" in caplog.text


def test_a_fetch_that_fails_unforeseen_leaves_no_claim_without_an_answer(
    rings: list[KeyRing], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(address: str) -> str:
        raise RuntimeError("unforeseen")

    def failing_claim() -> None:
        raise RuntimeError("its loop is gone")

    with JwksServer(jwks(public_jwk(OLD, "old"))) as server:
        ring = started(rings, jwks=server.address)
        eventually(lambda: takes(ring, ticket_of(OLD, "old")))
        told = threading.Event()
        with monkeypatch.context() as broken:
            broken.setattr(fetching, "fetched", failing)
            assert ring.refresh_then(failing_claim)
            assert ring.refresh_then(told.set)
            assert told.wait(10)
            eventually(lambda: "unforeseen" in caplog.text)
        assert not ring.is_reached
        assert takes(ring, ticket_of(OLD, "old"))

        server.text = jwks(public_jwk(NEW, "new"))
        eventually(lambda: ring.refresh_then(print) and takes(ring, ticket_of(NEW, "new")))


def test_an_address_that_was_never_reached_is_no_foreign_signer(rings: list[KeyRing]) -> None:
    with JwksServer("{}") as server:
        server.answer_with("500")
        ring = started(rings, jwks=server.address)
        eventually(lambda: server.asked > 0)
        assert not ring.is_reached

        server.answer_with("")
        server.text = jwks(public_jwk(OLD, "old"))
        eventually(lambda: ring.refresh_then(print) and ring.is_reached)
    assert takes(ring, ticket_of(OLD, "old"))


def test_forged_key_names_do_not_make_us_flood_the_login(
    rings: list[KeyRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ring, "AT_LEAST_S", 3600.0)
    with JwksServer(jwks(public_jwk(OLD, "old"))) as server:
        ring = started(rings, jwks=server.address)
        eventually(lambda: ring.is_reached)

        assert [ring.refresh_then(print) for _ in range(1000)] == [False] * 1000
        time.sleep(0.1)
        assert server.asked == 1


def test_only_so_many_wait_for_one_fetch(rings: list[KeyRing], monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(IdentitySettings(jwks="http://127.0.0.1:1/"))  # no thread fetches

    asked = [ring.refresh_then(print) for _ in range(key_ring.MOST_WAITING + 5)]

    assert asked == [True] * key_ring.MOST_WAITING + [False] * 5


def test_an_address_is_left_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and all of them never."""
    monkeypatch.setattr(fetching, "MOST_S", 0.2)
    with JwksServer("x" * 400) as server:
        server.answer_with("drip")
        with pytest.raises(JwksAwayError, match="not there after"):
            fetching.fetched(server.address)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "data:,{}", "ftp://127.0.0.1/x"])
def test_only_http_is_asked(address: str) -> None:
    """GHSA-993g-76c3-p5m4. The setting is refused too."""
    with pytest.raises(JwksAwayError):
        fetching.fetched(address)


@pytest.mark.parametrize(
    ("given", "english", "korean"),
    [
        (
            {"secret": public_pem(OLD).replace("\n", "")},
            "COUPON_IDENTITY_SECRET: a public key is no secret: everybody knows it",
            "COUPON_IDENTITY_SECRET: 공개 키는 비밀 값으로 쓸 수 없습니다. 누구나 아는 값입니다",
        ),
        (
            {"secret": SECRET, "office_keys": "crm plaintext users:read"},
            "COUPON_OFFICE_KEYS: line 1 is not: name sha256:<64 hex digits> scope,scope",
            "COUPON_OFFICE_KEYS: 1번째 줄의 형식이 다릅니다: 이름 sha256:<16진수 64자> 권한,권한",
        ),
    ],
)
def test_unusable_settings_end_the_start_with_their_name(
    given: dict[str, Any], english: str, korean: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        key_ring.refuse_unusable(IdentitySettings(**given))
    assert str(refused.value) == english
    with spoken(Language.KOREAN):
        assert say(refused.value) == korean


def test_a_jwks_that_is_none_is_told_with_its_shape(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("{}")
    with pytest.raises(ConfigError) as refused:
        key_ring.refuse_unusable(IdentitySettings(keys_file=str(file)))
    assert str(refused.value) == 'COUPON_TICKET_KEYS: no JWKS: it is {"keys": [...]}'
    with spoken(Language.KOREAN):
        assert say(refused.value) == 'COUPON_TICKET_KEYS: JWKS가 아닙니다. {"keys": [...]} 형식이어야 합니다'
