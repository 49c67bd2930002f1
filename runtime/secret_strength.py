"""Which secrets the API starts with. Commands and consumers sign nothing, so they take any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.config import Config, ConfigError
from runtime.wording import Wording

#: As many characters as Django's own check (security.W009) wants; `openssl rand -hex 32` makes 64.
SHORTEST_SECRET_KEY: Final = 50
#: 16 random bytes in hex. Fewer, and who has one token can try secrets until one makes that token.
SHORTEST_IDENTITY_SECRET: Final = 32
MEND: Final = Wording('set it to a long random text, e.g. "$(openssl rand -hex 32)"')
_LEAST_DIFFERENT: Final = 5  #: characters, as Django's check wants them
#: What stands, or once stood, in this repository or in what Django generates; anybody can look it up.
_KNOWN: Final = ("only-for-", "for-tests", "for-trying-it-out", "django-insecure-", "change-me", "changeme")


def refuse_weak(config: Config) -> None:
    """Raise ConfigError for a secret that can be guessed, unless DEBUG is on."""
    if config.site.debug:
        return
    for weakness in weaknesses(config):
        raise ConfigError("{weakness}: {mend}", weakness=weakness, mend=MEND)


def refuse_weak_identity_secret(text: str) -> None:
    """Raise ConfigError for one that can be guessed; several may stand there, one on a line."""
    for weakness in identity_weaknesses(text):
        raise ConfigError("{weakness}: {mend}", weakness=weakness, mend=MEND)


def weaknesses(config: Config) -> Iterator[Wording]:
    """What is wrong with the secrets, each beginning with the variable's name; MEND mends it."""
    yield from _weakness("SECRET_KEY", config.site.secret_key, shortest=SHORTEST_SECRET_KEY)
    yield from identity_weaknesses(config.identity.secret)


def identity_weaknesses(text: str) -> Iterator[Wording]:
    for secret in text.split():
        yield from _weakness("COUPON_IDENTITY_SECRET", secret, shortest=SHORTEST_IDENTITY_SECRET)


def _weakness(name: str, value: str, *, shortest: int) -> Iterator[Wording]:
    if any(known in value.lower() for known in _KNOWN):
        yield Wording("{name} is an example that everybody knows", name=name)
    elif len(value) < shortest:
        yield Wording(
            "{name} has {count} characters, and less than {shortest} can be guessed",
            name=name,
            count=len(value),
            shortest=shortest,
        )
    elif len(set(value)) < _LEAST_DIFFERENT:
        yield Wording("{name} repeats a few characters", name=name)
