"""A ticket: what is read from a good one, and what each refusal says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from coupons.eventlog.events import MAX_ID
from coupons.outcomes import Code
from coupons.tickets import signing_keys, ticket
from coupons.tickets.signing_keys import SigningKeys
from coupons.tickets.ticket import Flaw, TicketCheck, TicketRefusedError, UnknownKeyError
from runtime.config.identity import IdentitySettings
from tests.tickets import SECRET, jwks, made_by_hand, private_key, public_jwk, public_pem, ticket_for

ALGORITHMS = ["HS256", "RS256", "EdDSA"]


def key_for(algorithm: str) -> Any:
    return SECRET if algorithm == "HS256" else private_key(algorithm)


def check_with(**settings: Any) -> TicketCheck:
    keys = signing_keys.of_secrets(SECRET) + signing_keys.of_file(
        public_pem(private_key("RS256"), private_key("EdDSA"))
    )
    return TicketCheck(SigningKeys(keys), IdentitySettings(**settings))


def refusal(token: str | bytes, **settings: Any) -> tuple[Code, Flaw | None]:
    with pytest.raises(TicketRefusedError) as refused:
        check_with(**settings).ticket(token.encode() if isinstance(token, str) else token)
    return refused.value.code, refused.value.flaw


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("claims", "coupon_id"), [({}, None), ({"couponId": 5}, 5), ({"name": "김"}, None)])
def test_a_good_ticket_names_its_user(algorithm: str, claims: dict[str, Any], coupon_id: int | None) -> None:
    token = ticket_for(MAX_ID, algorithm=algorithm, key=key_for(algorithm), **claims).encode()

    found = check_with().ticket(token)

    assert (found.user_id, found.coupon_id) == (MAX_ID, coupon_id)
    assert found.expires_at == pytest.approx(time.time() + 60, abs=5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_signers_ticket_is_foreign(algorithm: str) -> None:
    key = "b00c" * 16 if algorithm == "HS256" else private_key(algorithm, number=1)

    assert refusal(ticket_for(algorithm=algorithm, key=key)) == (Code.TICKET_FOREIGN, Flaw.SIGNATURE)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_ticket_that_was_changed_proves_nothing(algorithm: str, part: int) -> None:
    """Each character of it, to another one."""
    token = ticket_for(algorithm=algorithm, key=key_for(algorithm))
    at = token.index(token.split(".")[part])
    for position in range(at, at + len(token.split(".")[part]) - 1):
        changed = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        code, _ = refusal(changed)
        assert code in (Code.TICKET_FOREIGN, Code.TICKET_MALFORMED), changed


Claims = Callable[[float], dict[str, Any]]


@pytest.mark.parametrize(
    ("claims", "settings", "expected"),
    [
        (lambda now: {"exp": now - 60}, {}, (Code.TICKET_EXPIRED, None)),
        (lambda now: {"exp": now - 5}, {"leeway_s": 0}, (Code.TICKET_EXPIRED, None)),
        (lambda now: {"exp": -1}, {}, (Code.TICKET_EXPIRED, None)),
        (lambda now: {"exp": 0}, {}, (Code.TICKET_EXPIRED, None)),
        (lambda now: {"exp": now + 7200}, {}, (Code.TICKET_MALFORMED, Flaw.LIFETIME)),
        (lambda now: {"exp": now + 200}, {"lifetime_s": 60}, (Code.TICKET_MALFORMED, Flaw.LIFETIME)),
        (lambda now: {"exp": 1e300}, {}, (Code.TICKET_MALFORMED, Flaw.LIFETIME)),
        (lambda now: {"exp": 10**40}, {}, (Code.TICKET_MALFORMED, Flaw.LIFETIME)),
        (lambda now: {"exp": 10**400}, {}, (Code.TICKET_MALFORMED, Flaw.CLAIMS)),
        (lambda now: {"nbf": 10**400}, {}, (Code.TICKET_MALFORMED, Flaw.CLAIMS)),
        (lambda now: {"nbf": now + 60}, {}, (Code.TICKET_NOT_YET_VALID, None)),
        (lambda now: {"iss": "other"}, {"issuer": "shop"}, (Code.TICKET_FOREIGN, Flaw.ISSUER)),
        (lambda now: {}, {"issuer": "shop"}, (Code.TICKET_FOREIGN, Flaw.ISSUER)),
        (lambda now: {"iss": "sho"}, {"issuer": "shop"}, (Code.TICKET_FOREIGN, Flaw.ISSUER)),
        (lambda now: {"aud": "other"}, {"audience": "coupons"}, (Code.TICKET_FOREIGN, Flaw.AUDIENCE)),
        (
            lambda now: {"aud": ["other", "coup"]},
            {"audience": "coupons"},
            (Code.TICKET_FOREIGN, Flaw.AUDIENCE),
        ),
        (lambda now: {}, {"audience": "coupons"}, (Code.TICKET_FOREIGN, Flaw.AUDIENCE)),
    ],
)
def test_what_is_wrong_is_said(
    claims: Claims, settings: dict[str, Any], expected: tuple[Code, Flaw | None]
) -> None:
    assert refusal(ticket_for(**claims(time.time())), **settings) == expected


@pytest.mark.parametrize(
    ("claims", "settings"),
    [
        (lambda now: {"exp": now - 5}, {"leeway_s": 300}),
        (lambda now: {"exp": now + 70.5}, {"lifetime_s": 60, "leeway_s": 60}),
        (lambda now: {"nbf": now + 60}, {"leeway_s": 300}),
        (lambda now: {"nbf": now - 60, "iat": now - 60, "jti": "x"}, {}),
        (lambda now: {"iss": "shop", "aud": "coupons"}, {"issuer": "shop", "audience": "coupons"}),
        (lambda now: {"iss": "shop", "aud": ["x", "coupons"]}, {"issuer": "shop", "audience": "coupons"}),
        (lambda now: {"iss": "anybody", "aud": "anything"}, {}),
    ],
)
def test_clocks_may_differ_and_lists_may_be_lists(claims: Claims, settings: dict[str, Any]) -> None:
    assert check_with(**settings).ticket(ticket_for(**claims(time.time())).encode()).user_id == 7


def test_a_ticket_that_is_remembered_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    check, token = check_with(leeway_s=0), ticket_for().encode()
    assert check.ticket(token).user_id == 7
    monkeypatch.setattr(ticket, "claims_decoder", None)  # nothing is read again
    assert check.ticket(token).user_id == 7

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with pytest.raises(TicketRefusedError) as refused:
        check.ticket(token)
    assert refused.value.code is Code.TICKET_EXPIRED


def test_a_key_is_known_by_its_name() -> None:
    """Rotation: old and new stand beside each other; each ticket is checked with its own key alone."""
    old, new = private_key("EdDSA"), private_key("EdDSA", number=1)
    keys = signing_keys.of_jwks(jwks(public_jwk(old, "old"), public_jwk(new, "new")))
    check = TicketCheck(SigningKeys(keys), IdentitySettings())

    def given(key: Any, kid: str | None) -> bytes:
        headers = {"kid": kid} if kid else None
        return ticket_for(algorithm="EdDSA", key=key, headers=headers).encode()

    for key, kid in [(old, "old"), (new, "new"), (old, None), (new, None)]:
        assert check.ticket(given(key, kid)).user_id == 7
    with pytest.raises(TicketRefusedError) as refused:
        check.ticket(given(old, "new"))
    assert refused.value.flaw is Flaw.SIGNATURE
    with pytest.raises(UnknownKeyError):
        check.ticket(given(old, "newest"))


def test_only_so_many_keys_are_tried_for_one_ticket() -> None:
    """Else a forged ticket without kid would cost a check for each key of a large JWKS."""
    many = [
        public_jwk(private_key("EdDSA", number=number), str(number))
        for number in range(signing_keys.MOST_TRIED + 1)
    ]
    check = TicketCheck(SigningKeys(signing_keys.of_jwks(jwks(*many))), IdentitySettings())

    with pytest.raises(UnknownKeyError):
        check.ticket(ticket_for(algorithm="EdDSA", key=private_key("EdDSA")).encode())
    named = ticket_for(algorithm="EdDSA", key=private_key("EdDSA"), headers={"kid": "0"})
    assert check.ticket(named.encode()).user_id == 7


def test_ed25519_is_eddsa_by_its_newer_name() -> None:
    token = made_by_hand({"alg": "Ed25519", "typ": "JWT"}, key=private_key("EdDSA"))

    assert check_with().ticket(token.encode()).user_id == 7
