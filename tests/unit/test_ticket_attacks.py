"""What was tried on other readers of tokens. Each is refused, or shown not to matter here.

The advisories are those of PyJWT and joserfc, and of jose, Authlib and python-jose where they had them first.
What we take PyJWT's own ``decode`` must take too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coupons.outcomes import Code
from coupons.tickets import signing_keys, ticket
from coupons.tickets.signing_keys import SigningKeys
from coupons.tickets.ticket import Flaw, TicketCheck, TicketRefusedError
from dev.processes import PROJECT
from runtime.config.identity import IdentitySettings
from tests.tickets import (
    SECRET,
    base64url,
    jwks,
    made_by_hand,
    private_key,
    public_jwk,
    public_pem,
    ticket_for,
)

RSA, ED = private_key("RS256"), private_key("EdDSA")
HS256 = {"alg": "HS256", "typ": "JWT"}
BOMB = b'{"a":' * 900 + b"1" + b"}" * 900
with_secret = TicketCheck(SigningKeys(signing_keys.of_secrets(SECRET)), IdentitySettings())
with_public_keys = TicketCheck(SigningKeys(signing_keys.of_file(public_pem(RSA, ED))), IdentitySettings())
with_all = TicketCheck(
    SigningKeys(signing_keys.of_secrets(SECRET) + signing_keys.of_file(public_pem(RSA, ED))),
    IdentitySettings(),
)


def refused(token: str | bytes, check: TicketCheck = with_all) -> tuple[Code, Flaw | None]:
    with pytest.raises(TicketRefusedError) as error:
        check.ticket(token.encode("latin1") if isinstance(token, str) else token)
    return error.value.code, error.value.flaw


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS384", "hs256", "ES256", "PS256"])
@pytest.mark.parametrize("key", [None, SECRET])
def test_the_algorithm_is_not_the_tokens_to_choose(name: str, key: str | None) -> None:
    """CVE-2015-9235 and its kin: "none" in any letters, and what we have no key for."""
    assert refused(made_by_hand({"alg": name}, key=key)) == (Code.TICKET_MALFORMED, Flaw.ALGORITHM)


def test_a_token_without_a_signature_proves_nothing() -> None:
    head, body, _ = ticket_for().split(".")

    assert refused(f"{head}.{body}.") == (Code.TICKET_FOREIGN, Flaw.SIGNATURE)
    assert refused(f"{head}.{body}")[0] is Code.TICKET_FOREIGN  # the body is no signature of the head


@pytest.mark.parametrize("check", [with_public_keys, with_all])
@pytest.mark.parametrize("key", [RSA, ED], ids=["RSA", "Ed25519"])
def test_a_public_key_is_no_secret(check: TicketCheck, key: Any) -> None:
    """CVE-2016-10555, CVE-2017-11424, CVE-2022-29217, GHSA-xgmm-8j9v-c9wx: HS256 with what all know."""
    public = key.public_key()
    texts = [
        public_pem(key).encode(),
        public_pem(key).strip().encode(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(public_jwk(key, "a")).encode(),
        b"",
    ]
    for text in texts:
        assert refused(made_by_hand(HS256, key=text), check)[0] is Code.TICKET_FOREIGN


def test_a_jwks_that_tells_a_secret_gives_nobody_that_secret() -> None:
    """An address that all can read: its symmetric keys are passed over."""
    secret = {"kty": "oct", "k": base64url(b"k" * 32), "kid": "s", "alg": "HS256"}
    check = TicketCheck(
        SigningKeys(signing_keys.of_jwks(jwks(secret, public_jwk(ED, "a")))), IdentitySettings()
    )

    assert refused(made_by_hand({**HS256, "kid": "s"}, key=b"k" * 32), check)[0] is Code.TICKET_FOREIGN


def test_a_key_checks_its_own_algorithm_alone() -> None:
    """GHSA-jq35-7prp-9v3f: the header says one algorithm, the key of that name is of another."""
    check = TicketCheck(
        SigningKeys(signing_keys.of_jwks(jwks(public_jwk(RSA, "a"), public_jwk(ED, "b")))), IdentitySettings()
    )
    signed = ticket_for(algorithm="EdDSA", key=ED, headers={"kid": "a"})

    assert refused(signed, check) == (Code.TICKET_FOREIGN, Flaw.KEY)


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": public_jwk(private_key("EdDSA", number=1), "evil")},
        {"x5c": ["MIIB"]},
    ],
)
def test_a_token_does_not_bring_its_own_key(header: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2018-0114, CVE-2026-34240: and no address in it is asked."""
    monkeypatch.setattr("coupons.tickets.jwks.fetched", None)
    forged = made_by_hand({"alg": "EdDSA", **header}, key=private_key("EdDSA", number=1))
    ours = made_by_hand({"alg": "EdDSA", **header}, key=ED)

    assert refused(forged) == (Code.TICKET_FOREIGN, Flaw.SIGNATURE)
    assert with_all.ticket(ours.encode()).user_id == 7  # as if it were not there


@pytest.mark.parametrize(
    "kid", ["../../../../dev/null", "/dev/null", "' OR 1=1 --", "\x00", "a" * 3000, "%00", "http://evil"]
)
def test_a_kid_is_a_name_and_nothing_else(kid: str) -> None:
    """It is looked up in a dictionary: no file, no query."""
    check = TicketCheck(SigningKeys(signing_keys.of_jwks(jwks(public_jwk(ED, "a")))), IdentitySettings())

    for key in (b"", b"\0", ED):
        alg = "EdDSA" if key is ED else "HS256"
        assert refused(made_by_hand({"alg": alg, "kid": kid}, key=key), check)[0] is Code.TICKET_FOREIGN


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": None},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
    ],
)
def test_what_must_be_understood_and_is_not_is_refused(header: dict[str, Any]) -> None:
    """CVE-2026-32597 (crit); GHSA-w7vc-732c-9m39 (b64=false makes the payload another one)."""
    assert refused(made_by_hand({**HS256, **header})) == (Code.TICKET_MALFORMED, Flaw.CRITICAL)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("addition", ["=", "==", " ", "\n", "\r\n", ".", "\x00", "+", "/", "é", "A==="])
@pytest.mark.parametrize("at_end", [True, False])
def test_base64url_is_read_in_one_way(part: int, addition: str, at_end: bool) -> None:
    """Padding, spaces, the other alphabet: another reader may skip them, and see another token."""
    parts = ticket_for().split(".")
    parts[part] = parts[part] + addition if at_end else addition + parts[part]

    assert refused(".".join(parts))[0] in (Code.TICKET_MALFORMED, Code.TICKET_FOREIGN)


@pytest.mark.parametrize(
    ("claims", "flaw"),
    [
        ({"exp": None}, Flaw.CLAIMS),
        ({"exp": "9999999999"}, Flaw.CLAIMS),
        ({"exp": str(int(time.time()) + 60)}, Flaw.CLAIMS),
        ({"exp": True}, Flaw.CLAIMS),
        ({"exp": [9999999999]}, Flaw.CLAIMS),
        ({"exp": {"$gt": 0}}, Flaw.CLAIMS),
        ({"exp": float("nan")}, Flaw.CLAIMS),
        ({"exp": float("inf")}, Flaw.CLAIMS),
        ({"nbf": "0"}, Flaw.CLAIMS),
        ({"nbf": False}, Flaw.CLAIMS),
        ({"sub": None}, Flaw.CLAIMS),
        ({"sub": 7}, Flaw.CLAIMS),
        ({"sub": True}, Flaw.CLAIMS),
        ({"sub": ["7"]}, Flaw.CLAIMS),
        ({"sub": ""}, Flaw.CLAIMS),
        ({"sub": "0"}, Flaw.CLAIMS),
        ({"sub": "-7"}, Flaw.CLAIMS),
        ({"sub": "+7"}, Flaw.CLAIMS),
        ({"sub": "07"}, Flaw.CLAIMS),
        ({"sub": " 7"}, Flaw.CLAIMS),
        ({"sub": "7\n"}, Flaw.CLAIMS),
        ({"sub": "7.0"}, Flaw.CLAIMS),
        ({"sub": "7e0"}, Flaw.CLAIMS),
        ({"sub": "1_0"}, Flaw.CLAIMS),
        ({"sub": "７"}, Flaw.CLAIMS),
        ({"sub": "٧"}, Flaw.CLAIMS),
        ({"sub": "9223372036854775808"}, Flaw.CLAIMS),
        ({"sub": "9" * 5000}, Flaw.CLAIMS),
        ({"couponId": "5"}, Flaw.CLAIMS),
        ({"couponId": True}, Flaw.CLAIMS),
        ({"couponId": 5.5}, Flaw.CLAIMS),
        ({"couponId": [5]}, Flaw.CLAIMS),
        ({"iss": 5}, Flaw.CLAIMS),
        ({"iss": ["shop"]}, Flaw.CLAIMS),
        ({"aud": {"coupons": 1}}, Flaw.CLAIMS),
        ({"aud": [["coupons"]]}, Flaw.CLAIMS),
    ],
)
def test_a_claim_has_one_type(claims: dict[str, Any], flaw: Flaw) -> None:
    assert refused(ticket_for(**claims)) == (Code.TICKET_MALFORMED, flaw)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"7", b'"x"', b"[]", b"{}", b"{", b"\xff", b'{"sub":"7","exp":1e999}', BOMB, b"[" * 6000],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """Also one that nests deeper than any reader's stack."""
    assert refused(made_by_hand(HS256, body)) == (Code.TICKET_MALFORMED, Flaw.CLAIMS)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"alg":5}',
        b'{"alg":["HS256"]}',
        b"\xff",
        BOMB,
        b'{"alg":"HS256","kid":5}',
    ],
)
def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    assert refused(made_by_hand(header)) == (Code.TICKET_MALFORMED, Flaw.FORM)


def test_a_nested_claim_that_we_do_not_read_is_no_bomb() -> None:
    deep = b'{"sub":"7","exp":%d,"x":%b}' % (time.time() + 60, b"[" * 2500 + b"]" * 2500)

    assert refused(made_by_hand(HS256, deep)) == (Code.TICKET_MALFORMED, Flaw.CLAIMS)


def test_of_a_claim_that_stands_there_twice_the_last_one_counts() -> None:
    """As RFC 7519 has it, as PyJWT reads it, and wherever it stands: nobody else may have signed it."""
    exp = int(time.time()) + 60
    body = b'{"sub":"8","exp":1,"sub":"7","exp":%d}' % exp
    token = made_by_hand(b'{"alg":"none","alg":"HS256"}', body)

    assert with_all.ticket(token.encode()) == ticket.Ticket(7, None, exp)
    assert jwt.decode(token, SECRET, algorithms=["HS256"])["sub"] == "7"


@pytest.mark.parametrize("size", [ticket.LONGEST, 16_384, 1_000_000])
def test_a_huge_token_is_not_looked_into(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2025-65015, CVE-2022-29217's cousin: neither hashed, nor decoded, nor repeated in a message."""
    monkeypatch.setattr(ticket, "header_of", None)
    token = ticket_for(name="x" * size)

    assert refused(token) == (Code.TICKET_MALFORMED, Flaw.LENGTH)


@pytest.mark.parametrize("token", ["", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d", "a.b.c.d.e", "\xff"])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refused(token) == (Code.TICKET_MALFORMED, Flaw.FORM)


def test_an_encrypted_token_is_none_of_ours() -> None:
    """JWE has five parts. CVE-2026-27932, CVE-2024-33664: PBES2's count, inflated bodies cost nothing."""
    header = {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 10**9, "zip": "DEF"}
    token = made_by_hand(header) + ".aaaa.aaaa"

    assert refused(token)[0] is Code.TICKET_MALFORMED


def test_a_weak_key_is_none() -> None:
    """CVE-2025-45768: short secrets are refused at the start, RSA below 2048 bits when it is read."""
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"],
        cwd=PROJECT,
        env={"PATH": "", "SECRET_KEY": "0123456789abcdef" * 4, "COUPON_IDENTITY_SECRET": f"{SECRET}\nshort"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode != 0
    assert "COUPON_IDENTITY_SECRET has 5 characters" in done.stderr


@pytest.mark.parametrize(
    ("algorithm", "key", "claims"),
    [
        ("HS256", SECRET, {}),
        ("HS256", SECRET, {"couponId": 4, "nbf": 1, "iss": "x", "aud": ["a", "b"]}),
        ("HS256", SECRET, {"exp": time.time() + 3000.5}),
        ("RS256", RSA, {}),
        ("EdDSA", ED, {}),
    ],
)
def test_what_we_take_pyjwt_takes(algorithm: str, key: Any, claims: dict[str, Any]) -> None:
    token = ticket_for(9, algorithm=algorithm, key=key, **claims)
    public = key if isinstance(key, str) else key.public_key()

    ours = with_all.ticket(token.encode())
    theirs = jwt.decode(
        token, public, algorithms=[algorithm], options={"require": ["exp", "sub"], "verify_aud": False}
    )

    assert (str(ours.user_id), ours.expires_at) == (theirs["sub"], theirs["exp"])
