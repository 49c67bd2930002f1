"""Who asks, by the headers of a request; what they may claim and read. Off unless identity is on.

A claim is for the user whom the ticket names; a user's coupons and a request's status are for their owner.
What is somebody else's is answered as what does not exist, in words and in time: ownership is looked at
before any row, or the search goes on as if nothing had been found (coupons/claims/request_status.py).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from django.conf import settings
from django.http import HttpRequest

from coupons.api import messages
from coupons.errors import RefusedError
from coupons.outcomes import Code
from coupons.tickets import key_ring
from coupons.tickets.key_ring import KeyRing
from coupons.tickets.office_keys import Scope
from coupons.tickets.ticket import Ticket, TicketRefusedError, UnknownKeyError
from runtime import greenlets
from runtime.http.reply import Reply
from runtime.http.request import Request
from runtime.seldom import Seldom

log = logging.getLogger(__name__)

OLD_HEADER: Final = "X-User-Token"
OFFICE_KEY: Final = "X-API-Key"
#: What who proves too little is refused with, for the OpenAPI document.
REFUSES_READ: Final = (
    Code.TICKET_MISSING,
    Code.TICKET_MALFORMED,
    Code.TICKET_FOREIGN,
    Code.TICKET_EXPIRED,
    Code.TICKET_NOT_YET_VALID,
    Code.OFFICE_KEY_UNKNOWN,
    Code.SCOPE_MISSING,
    Code.SIGNER_UNAVAILABLE,
)
REFUSES_CLAIM: Final = (
    *REFUSES_READ,
    Code.TICKET_OF_ANOTHER_USER,
    Code.TICKET_FOR_ANOTHER_COUPON,
    Code.IDENTITY_NOT_PROVEN,
)
#: Since 2026-11-27 (RFC 9745). The next release does not read it.
DEPRECATION: Final = ("Deprecation", "@1795737600")
#: Longer than a fetch of the shop's keys takes (coupons/tickets/jwks.py).
_FETCH_S: Final = 10.0
old_header_uses: Final = Seldom()


class Credentials(NamedTuple):
    """What a request brought, as it came. Empty: nothing."""

    authorization: bytes = b""
    office_key: bytes = b""
    user_token: bytes = b""

    @property
    def ticket(self) -> bytes:
        scheme, _, token = self.authorization.partition(b" ")
        return token.strip(b" ") if scheme.lower() == b"bearer" else b""


#: Nobody has to prove anything: identity is off. This one object, not another one that is empty.
UNASKED: Final = Credentials()


def credentials_of(request: Request) -> Credentials:
    """In the loop's hub, for each claim."""
    if not settings.CONFIG.identity.is_on:
        return UNASKED
    headers = request.headers
    return Credentials(
        headers.get(b"authorization", b""),
        headers.get(b"x-api-key", b""),
        headers.get(b"x-user-token", b""),
    )


def credentials_in(request: HttpRequest) -> Credentials:
    """The same of a request that Django serves."""
    if not settings.CONFIG.identity.is_on:
        return UNASKED
    named = ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY", "HTTP_X_USER_TOKEN")
    return Credentials(*(request.META.get(name, "").encode("latin1", "replace") for name in named))


class Caller(NamedTuple):
    """``may``: whether they may see what is of this user. ``other``: the refusal for who may not."""

    may: Callable[[int | None], bool]
    other: Code = Code.TICKET_OF_ANOTHER_USER


def _anybody(user_id: int | None) -> bool:
    return True


ANYBODY: Final = Caller(_anybody)


def refuse_claim(credentials: Credentials, *, user_id: int, coupon_id: int) -> None:
    """Raise RefusedError unless this user may claim. In the loop's hub: nothing here waits."""
    if credentials is UNASKED:
        return
    ring = key_ring.ring()
    if credentials.office_key:
        _scoped(ring, credentials.office_key, Scope.CLAIMS_WRITE, what=f"claims for user {user_id}")
    elif is_old(credentials):
        if not _is_proven(ring, user_id, credentials.user_token):
            raise RefusedError(Code.IDENTITY_NOT_PROVEN, detail=OLD_HEADER)
    else:
        ticket = _ticket(ring, credentials.ticket)
        if ticket.user_id != user_id:
            raise RefusedError(Code.TICKET_OF_ANOTHER_USER)
        if ticket.coupon_id not in (None, coupon_id):
            raise RefusedError(Code.TICKET_FOR_ANOTHER_COUPON)


def reader(credentials: Credentials, scope: Scope, *, what: str) -> Caller:
    """Who reads what is of one user. Raises RefusedError for who proves nothing.

    In a greenlet, which sleeps while the shop's keys are fetched; or in a page thread, which others need: it
    does not wait, and says that it may be right in a moment.
    """
    if credentials is UNASKED:
        return ANYBODY
    try:
        return _reader(credentials, scope, what)
    except UnknownKeyError:
        fetched = greenlets.event()
        if not key_ring.ring().refresh_then(fetched.set):
            raise
        if not greenlets.is_here():
            raise RefusedError(Code.SIGNER_UNAVAILABLE) from None
        fetched.wait(_FETCH_S)
        return _reader(credentials, scope, what)


def _reader(credentials: Credentials, scope: Scope, what: str) -> Caller:
    ring = key_ring.ring()
    if credentials.office_key:
        _scoped(ring, credentials.office_key, scope, what=what)
        return ANYBODY
    if is_old(credentials):
        token = credentials.user_token
        return Caller(
            lambda user_id: user_id is not None and _is_proven(ring, user_id, token),
            Code.IDENTITY_NOT_PROVEN,
        )
    user = _ticket(ring, credentials.ticket).user_id
    return Caller(lambda user_id: user_id == user)


def when_keys_are_fetched(call: Callable[[], None]) -> bool:
    """Have the shop's keys fetched, and ``call`` called in the loop's hub then. False: it makes no sense now.

    In the loop, or its hub. Where there is no loop nobody could call it later.
    """
    return greenlets.is_here() and key_ring.ring().refresh_then(greenlets.in_hub_later(call))


def refusal_of(caller: Caller) -> RefusedError:
    """For what is of somebody else, and is found by its user's id."""
    return RefusedError(caller.other, detail=OLD_HEADER)


def _ticket(ring: KeyRing, token: bytes) -> Ticket:
    if not token:
        raise RefusedError(Code.TICKET_MISSING)
    try:
        return ring.check.ticket(token)
    except TicketRefusedError as error:
        if isinstance(error, UnknownKeyError) and not ring.is_reached:
            error.code, error.flaw = Code.SIGNER_UNAVAILABLE, None
        error.names = {"detail": messages.FLAWS[error.flaw] if error.flaw else ""}
        raise


def _scoped(ring: KeyRing, key: bytes, scope: Scope, *, what: str) -> None:
    found = ring.office.find(key)
    if found is None:
        raise RefusedError(Code.OFFICE_KEY_UNKNOWN)
    if scope not in found.scopes:
        log.warning("the office key %s has no scope %s: %s is refused", found.name, scope, what)
        raise RefusedError(Code.SCOPE_MISSING, detail=scope.value)
    log.info("the office key %s: %s", found.name, what)


# The header before tickets


def is_old(credentials: Credentials) -> bool:
    """Whether the header before tickets counts: there is nothing newer, and a secret to check it with."""
    if not credentials.user_token or credentials.office_key or credentials.ticket:
        return False
    identity = settings.CONFIG.identity
    return bool(identity.old_header and identity.secret)


def with_warning(reply: Callable[[Reply], None], credentials: Credentials) -> Callable[[Reply], None]:
    """``reply``, saying that the header before tickets will not be read any more, if it was used."""
    if credentials is UNASKED or not is_old(credentials):
        return reply
    warn()
    name, value = DEPRECATION
    line = f"{name}: {value}\r\n".encode()
    return lambda made: reply(Reply(made.status, made.fields + line, made.body))


def warn() -> None:
    if count := old_header_uses.note():
        log.warning(
            "%d requests proved their user by %s, which is valid for ever, and which the next release does "
            "not read: have the login sign tickets (docs/integrate.md)",
            count,
            OLD_HEADER,
        )


def _is_proven(ring: KeyRing, user_id: int, token: bytes) -> bool:
    """Whether the token is the hex HMAC-SHA256 of the user id under a secret."""
    given, text = token.lower(), str(user_id).encode()
    return any(
        hmac.compare_digest(hmac.new(secret, text, hashlib.sha256).hexdigest().encode(), given)
        for secret in ring.secrets
    )
