"""What is valid now: the keys that tickets may be signed with, and the back office's keys.

A thread of its own looks whether files changed, and fetches the JWKS, so that no claim and no loop waits for
a disk or another server. What it finds takes the place of what was there in one step. A file or an answer
that is unusable changes nothing: the keys from before stay, and the log says so. So it is with an address
that is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from django.conf import settings as django_settings

from coupons.tickets import jwks, office_keys
from coupons.tickets.office_keys import OfficeKeys, UnusableOfficeKeysError
from coupons.tickets.ticket import TicketCheck
from runtime import secret_strength
from runtime.config.identity import IdentitySettings
from runtime.config.reading import ConfigError
from runtime.seldom import Seldom
from runtime.watched_file import WatchedFile

if TYPE_CHECKING:
    from coupons.tickets.signing_keys import SigningKey

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0  #: at the files
#: A key that is no longer in the JWKS is believed for so long. Shorter, and every worker asks the login more
#: often; longer, and a key that was stolen is good for longer.
REFRESH_S: Final = 300.0
#: Between two fetches, whatever tickets name: forged ones could name a new key each. Shorter, and they make
#: us flood the login; longer, and a key that is used before it is published is refused for longer.
AT_LEAST_S: Final = 10.0
#: Claims that wait for one fetch. More are refused at once: they are forged, or can come again.
MOST_WAITING: Final = 1000


class KeyRing:
    """``check`` and ``office`` are read from any thread; ``close`` ends the thread."""

    def __init__(self, settings: IdentitySettings) -> None:
        """Raises ConfigError where a text has no usable keys."""
        self.settings: Final = settings
        self._files: Final = {
            "COUPON_IDENTITY_SECRET": WatchedFile(settings.secret_file),
            "COUPON_TICKET_KEYS": WatchedFile(settings.keys_file),
            "COUPON_OFFICE_KEYS": WatchedFile(settings.office_keys_file),
        }
        given = {"COUPON_IDENTITY_SECRET": settings.secret, "COUPON_OFFICE_KEYS": settings.office_keys}
        self._keys: dict[str, list[SigningKey]] = {}
        self.secrets: tuple[bytes, ...] = ()
        self.office = OfficeKeys()
        for name, file in self._files.items():
            if text := _text(name, file) or given.get(name):
                self._take(name, text)
        self.check = self._checked()
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._waiting: list[Callable[[], None]] = []
        self._began_at = float("-inf")
        self._next_at = float("-inf")
        self._is_fetching = False
        self._is_closed = False
        self._failures = Seldom()
        #: Whether the address answered when it was asked last, or there is none. If not, a key that we do
        #: not have may all the same be the shop's.
        self.is_reached = not settings.jwks

    # What the loop and page threads ask

    def refresh_then(self, then: Callable[[], None]) -> bool:
        """Have the JWKS fetched, and ``then`` called in the ring's thread, whatever comes of it.

        False, and nothing is called, where that makes no sense now: there is no address, it was asked a
        moment ago, or too many wait already.
        """
        with self._lock:
            is_due = self._is_fetching or time.monotonic() - self._began_at >= AT_LEAST_S
            if not self.settings.jwks or not is_due or len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(then)
        self._wanted.set()
        return True

    def start(self) -> None:
        """Have the thread watch, if there is anything to watch."""
        if self.settings.jwks or any(file.path for file in self._files.values()):
            threading.Thread(target=self._watch, name="key-ring", daemon=True).start()

    def close(self) -> None:
        self._is_closed = True
        self._wanted.set()

    # What the ring's thread does

    def _watch(self) -> None:
        while not self._is_closed:
            try:
                self._look_at_files()
                if self.settings.jwks and self._is_due():
                    self._fetch()
            except Exception:  # a bug: without this thread no key would ever change again
                log.exception("the keys from before stay valid")
            self._wanted.wait(LOOK_EVERY_S)

    def _is_due(self) -> bool:
        with self._lock:
            if self._waiting:
                return True
            self._wanted.clear()
        return time.monotonic() >= self._next_at

    def _look_at_files(self) -> None:
        for name, file in self._files.items():
            try:
                text = _text(name, file)
                if text is None:
                    continue
                if name == "COUPON_IDENTITY_SECRET" and not django_settings.CONFIG.site.debug:
                    secret_strength.refuse_weak_identity_secret(text)
                self._take(name, text)
            except ConfigError as error:
                log.error("the keys from before stay valid: %s", error)
            else:
                self.check = self._checked()
                log.info("%s: %s is read again", name, file.path)

    def _fetch(self) -> None:
        with self._lock:
            self._is_fetching, self._began_at = True, time.monotonic()
        is_reached = False
        try:
            is_reached = self._fetched()
        finally:  # whatever came of it, claims wait for their answers
            self._end_fetch(is_reached=is_reached)

    def _end_fetch(self, *, is_reached: bool) -> None:
        with self._lock:
            self.is_reached = is_reached
            self._is_fetching = False
            self._next_at = self._began_at + (REFRESH_S if is_reached else AT_LEAST_S)
            waiting, self._waiting = self._waiting, []
            self._wanted.clear()
        for then in waiting:
            try:
                then()
            except Exception:
                log.exception("a claim that waited for a key cannot go on")

    def _fetched(self) -> bool:
        from coupons.tickets.signing_keys import UnusableKeysError, of_jwks

        try:
            self._keys["COUPON_TICKET_JWKS"] = of_jwks(jwks.fetched(self.settings.jwks))
        except (jwks.JwksAwayError, UnusableKeysError) as error:
            if count := self._failures.note():
                log.warning(
                    "COUPON_TICKET_JWKS cannot be used (%d times), %s: %s",
                    count,
                    "the keys from before stay valid" if len(self.check.keys) else "and we have no key",
                    error,
                )
            return False
        self.check = self._checked()
        return True

    def _take(self, name: str, text: str) -> None:
        """Raises ConfigError, and then nothing has changed."""
        try:
            if name == "COUPON_OFFICE_KEYS":
                self.office = OfficeKeys(office_keys.parsed(text))
            else:
                self._keys[name] = _keys_of(name, text)
        except (ValueError, UnusableOfficeKeysError) as error:
            raise ConfigError("{name}: {error}", name=name, error=error) from error
        if name == "COUPON_IDENTITY_SECRET":
            self.secrets = tuple(key.key for key in self._keys.get(name, ()))

    def _checked(self) -> TicketCheck:
        from coupons.tickets.signing_keys import SigningKeys

        return TicketCheck(SigningKeys(key for keys in self._keys.values() for key in keys), self.settings)


def _text(name: str, file: WatchedFile) -> str | None:
    try:
        return file.changed()
    except UnicodeDecodeError as error:
        raise ConfigError("{name}: {path} is no text file", name=name, path=file.path) from error


def _keys_of(name: str, text: str) -> list[SigningKey]:
    from coupons.tickets.signing_keys import of_file, of_secrets

    return of_secrets(text) if name == "COUPON_IDENTITY_SECRET" else of_file(text)


_ring: KeyRing | None = None
_making: Final = threading.Lock()


def ring() -> KeyRing:
    """This process's ring, made when it is first asked for. From any thread, after a fork."""
    settings = django_settings.CONFIG.identity
    if _ring is None or _ring.settings is not settings:
        _make(settings)
    assert _ring is not None
    return _ring


def _make(settings: IdentitySettings) -> None:
    global _ring
    with _making:
        if _ring is not None and _ring.settings is settings:
            return
        if _ring is not None:
            _ring.close()
        made = KeyRing(settings)
        made.start()
        _ring = made


def start(*, patience_s: float) -> None:
    """Make the ring before this process serves, and let the first fetch end, or be for ``patience_s``.

    It blocks its thread: before the loop runs.
    """
    if not django_settings.CONFIG.identity.is_on:
        return
    fetched = threading.Event()
    if ring().refresh_then(fetched.set):
        fetched.wait(patience_s)


def refuse_unusable(settings: IdentitySettings) -> None:
    """Raise ConfigError where a setting has no usable keys, for the start. An address is not asked."""
    if settings.is_on:
        KeyRing(settings)
