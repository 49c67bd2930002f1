"""A ticket: a short-lived signed token (JWT) of the shop's login, which proves one user.

One check, without a lookup, cheap enough for the loop: docs/performance.md has its cost. PyJWT reads the keys
and checks what public ones have signed; a secret's signature is the standard library's HMAC. PyJWT's
``decode`` would do all of this in 29 us more for each claim, which is the whole of what a claim may cost
more; so the three parts are taken apart here, and read into typed structs.
tests/unit/test_ticket_attacks.py holds the result to PyJWT's own.
"""

from __future__ import annotations

import binascii
import time
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coupons.errors import RefusedError
from coupons.eventlog.events import MAX_ID
from coupons.outcomes import Code
from runtime.config.identity import IdentitySettings

if TYPE_CHECKING:  # it imports `cryptography`, 10 MB that an API without tickets does not need
    from coupons.tickets.signing_keys import SigningKey, SigningKeys

#: Bytes. Shorter, and a login that puts much into its tokens is refused; longer, and a forged one costs more.
LONGEST: Final = 8192
#: Tickets that were found good, in each worker: people who ask again and again for their result. Fewer, and
#: they are checked anew; more cost 1 kB each.
REMEMBERED: Final = 4096
_LONGEST_ID: Final = len(str(MAX_ID))
#: base64url into base64, and what belongs to neither or is padding into what base64 refuses.
_ALPHABET: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING: Final = (b"", b"!", b"==", b"=")  #: by length modulo 4; 1 cannot be


class Flaw(StrEnum):
    """What is wrong with a ticket, where its code says less."""

    LENGTH = "LENGTH"
    FORM = "FORM"
    ALGORITHM = "ALGORITHM"
    CRITICAL = "CRITICAL"
    CLAIMS = "CLAIMS"
    LIFETIME = "LIFETIME"
    KEY = "KEY"
    SIGNATURE = "SIGNATURE"
    ISSUER = "ISSUER"
    AUDIENCE = "AUDIENCE"


class TicketRefusedError(RefusedError):
    """A ticket proves nothing."""

    def __init__(self, code: Code, flaw: Flaw | None = None) -> None:
        super().__init__(code)
        self.flaw = flaw


class UnknownKeyError(TicketRefusedError):
    """We do not have the key that the ticket says it is signed with. The shop may have a new one."""

    def __init__(self) -> None:
        super().__init__(Code.TICKET_FOREIGN, Flaw.KEY)


class Ticket(msgspec.Struct, frozen=True, gc=False):
    user_id: int
    coupon_id: int | None  #: the only coupon that it is for; None: any
    expires_at: float  #: epoch seconds


class _Header(msgspec.Struct, gc=False):
    alg: str
    kid: str | None = None
    crit: Any = msgspec.UNSET
    b64: Any = msgspec.UNSET


class _Claims(msgspec.Struct, gc=False):
    """Of a claim that stands there twice the last one counts, as RFC 7519 has it."""

    sub: str
    exp: int | float
    nbf: int | float | None = None
    iss: str | None = None
    aud: str | list[str] | None = None
    couponId: int | None = None


header_decoder: Final = msgspec.json.Decoder(_Header)
claims_decoder: Final = msgspec.json.Decoder(_Claims)
#: binascii.Error is a ValueError; an ``exp`` may be a number that no float can be compared with.
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


class TicketCheck:
    """Checks tickets against these keys. Immutable but for what it remembers; any thread may call it."""

    def __init__(self, keys: SigningKeys, settings: IdentitySettings) -> None:
        self.keys: Final = keys
        self._settings: Final = settings
        # With HS256 alone, remembering tickets takes about as long as checking them, and few come twice.
        is_costly = keys.algorithms != {"HS256"}
        self._found = lru_cache(REMEMBERED)(self._check) if is_costly else self._check
        self._candidates = lru_cache(64)(self._candidates_of)

    def ticket(self, token: bytes) -> Ticket:
        """The ticket, if it is good now. Raises TicketRefusedError."""
        ticket = self._found(token)
        if ticket.expires_at + self._settings.leeway_s <= time.time():
            raise TicketRefusedError(Code.TICKET_EXPIRED)
        return ticket

    def _check(self, token: bytes) -> Ticket:
        """All of it but whether it has expired since. What raises is not remembered."""
        if len(token) > LONGEST:
            raise _malformed(Flaw.LENGTH)
        signed, _, signature = token.rpartition(b".")
        head, _, body = signed.partition(b".")
        candidates = self._candidates(head)
        try:
            decoded = _decoded(signature)
        except ValueError as error:
            raise _malformed(Flaw.FORM) from error
        for key in candidates:
            if key.verifies(signed, decoded):
                break
        else:
            raise TicketRefusedError(Code.TICKET_FOREIGN, Flaw.SIGNATURE)
        try:
            return self._judged(claims_decoder.decode(_decoded(body)))
        except _UNREADABLE as error:
            raise _malformed(Flaw.CLAIMS) from error

    def _candidates_of(self, head: bytes) -> Sequence[SigningKey]:
        """The keys that a ticket with this header may be signed with: the same bytes for all of one key."""
        header = header_of(head)
        candidates = self.keys.candidates(header.alg, header.kid)
        if not candidates:
            raise UnknownKeyError
        return candidates

    def _judged(self, claims: _Claims) -> Ticket:
        settings, now = self._settings, time.time()
        user_id = _user_id(claims.sub)
        if settings.issuer and claims.iss != settings.issuer:
            raise TicketRefusedError(Code.TICKET_FOREIGN, Flaw.ISSUER)
        if settings.audience and not _names(claims.aud, settings.audience):
            raise TicketRefusedError(Code.TICKET_FOREIGN, Flaw.AUDIENCE)
        if claims.exp - now > settings.lifetime_s + settings.leeway_s:
            raise _malformed(Flaw.LIFETIME)
        if claims.nbf is not None and claims.nbf - now > settings.leeway_s:
            raise TicketRefusedError(Code.TICKET_NOT_YET_VALID)
        return Ticket(user_id, claims.couponId, claims.exp)


def header_of(segment: bytes) -> _Header:
    """Raises TicketRefusedError."""
    try:
        header = header_decoder.decode(_decoded(segment))
    except _UNREADABLE as error:
        raise _malformed(Flaw.FORM) from error
    if header.alg not in ALGORITHMS:
        raise _malformed(Flaw.ALGORITHM)
    if header.crit is not msgspec.UNSET or header.b64 is not msgspec.UNSET:
        raise _malformed(Flaw.CRITICAL)
    return header


ALGORITHMS: Final = frozenset({"HS256", "RS256", "EdDSA", "Ed25519"})


def _decoded(segment: bytes) -> bytes:
    """Of base64url without padding. Raises ValueError."""
    return binascii.a2b_base64(segment.translate(_ALPHABET) + _PADDING[len(segment) % 4], strict_mode=True)


def _user_id(subject: str) -> int:
    """Spelt as we would. Raises TicketRefusedError."""
    if subject.isdecimal() and subject.isascii() and subject[0] != "0" and len(subject) <= _LONGEST_ID:
        user_id = int(subject)
        if user_id <= MAX_ID:
            return user_id
    raise _malformed(Flaw.CLAIMS)


def _names(audiences: str | Sequence[str] | None, ours: str) -> bool:
    return ours == audiences if isinstance(audiences, str) else ours in (audiences or ())


def _malformed(flaw: Flaw) -> TicketRefusedError:
    return TicketRefusedError(Code.TICKET_MALFORMED, flaw)
