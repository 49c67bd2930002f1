"""How Redis is reached: one server, the master that Sentinels name, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from environs import Env
from marshmallow.validate import Range

from runtime.config.reading import ConfigError, readable_file, secret, together
from runtime.wording import Wording


class RedisKind(StrEnum):
    """What REDIS_URL leads to, in Redis's own words (``HELLO`` says them)."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


#: The URL that says so, for messages.
SPELLING: Final[Mapping[RedisKind, str]] = {
    RedisKind.STANDALONE: "redis://host:port/db",
    RedisKind.SENTINEL: "redis+sentinel://host:port,host:port/name-of-the-master",
    RedisKind.CLUSTER: "redis+cluster://host:port,host:port",
}
_SCHEMES: Final[Mapping[str, tuple[RedisKind, bool]]] = {
    "redis": (RedisKind.STANDALONE, False),
    "rediss": (RedisKind.STANDALONE, True),
    "unix": (RedisKind.STANDALONE, False),
    "redis+sentinel": (RedisKind.SENTINEL, False),
    "rediss+sentinel": (RedisKind.SENTINEL, True),
    "redis+cluster": (RedisKind.CLUSTER, False),
    "rediss+cluster": (RedisKind.CLUSTER, True),
}
_YES_OR_NO: Final = {"true": True, "yes": True, "false": False, "no": False}

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """``addresses``: of the server, of the Sentinels, or of some of the cluster's nodes."""

    kind: RedisKind
    addresses: tuple[Address, ...]
    timeout_s: float  #: of one call to one server
    path: str = ""  #: of a unix socket, in place of ``addresses``
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    service: str = ""  #: the name by which the Sentinels know the master
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    is_encrypted: bool = False
    checks_hostname: bool = True  #: whether the certificate must be for the host that we connect to
    ssl_ca: str = ""  #: paths of PEM files; without a CA the system's are trusted
    ssl_certificate: str = ""
    ssl_key: str = ""

    @property
    def longest_call_s(self) -> float:
        """The longest that one call takes, where servers hang: named ones are asked one after the other."""
        return self.timeout_s * (1 if self.kind is RedisKind.STANDALONE else 1 + len(self.addresses))


def load(env: Env) -> RedisSettings:
    url = secret(env, "REDIS_URL", "redis://127.0.0.1:6379/0")
    try:
        parts = urlsplit(url)
        kind, is_encrypted = _SCHEMES[parts.scheme]
        userinfo, _, hosts = parts.netloc.rpartition("@")
        username, _, password = userinfo.partition(":")
        default_port = 26379 if kind is RedisKind.SENTINEL else 6379
        addresses = () if parts.scheme == "unix" else _addresses(hosts, kind, default_port)
        path = [unquote(part) for part in parts.path.strip("/").split("/")]
        service, database = _service_and_database(kind, parts, path)
    except (ValueError, KeyError) as error:
        spellings = ", ".join(SPELLING.values())
        # The message does not repeat the value, which may hold a password.
        raise ConfigError(
            "REDIS_URL is no usable URL: it is {spellings} (rediss… with TLS) or unix://path; "
            "a port is at most 65535",
            spellings=spellings,
        ) from error
    options = _options(parts, kind)
    certificates = _certificates(env, is_encrypted=is_encrypted)
    return RedisSettings(
        kind=kind,
        addresses=addresses,
        timeout_s=env.int("COUPON_REDIS_TIMEOUT_MS", 500, validate=Range(min=10, max=10_000)) / 1000,
        path=unquote(parts.path) if parts.scheme == "unix" else "",
        database=int(options.get("db", database)),
        username=unquote(username) or None,
        password=unquote(password) or None,
        service=service,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        is_encrypted=is_encrypted,
        checks_hostname=_YES_OR_NO[options.get("ssl_check_hostname", "yes").lower()],
        ssl_ca=certificates["REDIS_SSL_CA"],
        ssl_certificate=certificates["REDIS_SSL_CERTIFICATE"],
        ssl_key=certificates["REDIS_SSL_KEY"],
    )


def _addresses(hosts: str, kind: RedisKind, default_port: int) -> tuple[Address, ...]:
    """The addresses in ``host:port,host:port``. Raises ValueError."""
    found = []
    for each in hosts.split(","):
        parts = urlsplit(f"//{each}")
        if not parts.hostname or parts.port == 0:
            raise ValueError("a host or a port is missing")
        found.append((parts.hostname, parts.port or default_port))
    if kind is RedisKind.STANDALONE and len(found) > 1:
        raise ValueError("redis:// names one server")
    return tuple(found)


def _service_and_database(kind: RedisKind, parts: SplitResult, path: list[str]) -> tuple[str, int]:
    """What stands behind the hosts. Raises ValueError."""
    if parts.scheme == "unix":
        return "", 0
    service, rest = (path[0], path[1:]) if kind is RedisKind.SENTINEL else ("", path)
    if kind is RedisKind.SENTINEL and not service:
        raise ValueError("the master's name is missing")
    database = int("".join(rest[:1]) or 0)
    if len(rest) > 1 or database < 0 or (database and kind is RedisKind.CLUSTER):
        raise ValueError("what follows the host is no database")
    return service, database


def _options(parts: SplitResult, kind: RedisKind) -> dict[str, str]:
    known: dict[str, Callable[[str], bool]] = {}
    if kind is not RedisKind.CLUSTER:
        known["db"] = str.isdecimal
    if parts.scheme.startswith("rediss"):
        known["ssl_check_hostname"] = lambda value: value.lower() in _YES_OR_NO
    if kind is RedisKind.SENTINEL:
        known |= {"sentinel_username": bool, "sentinel_password": bool}
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in known or not known[name](value):
            raise _unusable_option(name, known)
    return options


def _unusable_option(name: str, known: Iterable[str]) -> ConfigError:
    shown = ", ".join(known) or Wording("none")
    if "ssl" in name:
        return ConfigError(
            "REDIS_URL has the option {name}, which is unknown or has no usable value: TLS is rediss… and "
            "REDIS_SSL_CA, REDIS_SSL_CERTIFICATE, REDIS_SSL_KEY; known here: {known}",
            name=name,
            known=shown,
        )
    return ConfigError(
        "REDIS_URL has the option {name}, which is unknown or has no usable value: known here: {known}",
        name=name,
        known=shown,
    )


def _certificates(env: Env, *, is_encrypted: bool) -> dict[str, str]:
    own = {name: readable_file(env, name) for name in ("REDIS_SSL_CERTIFICATE", "REDIS_SSL_KEY")}
    together(own)
    given = {"REDIS_SSL_CA": readable_file(env, "REDIS_SSL_CA"), **own}
    if not is_encrypted:
        for name in (name for name, value in given.items() if value):
            raise ConfigError("{name} is not used: REDIS_URL has no TLS, begin it with rediss", name=name)
    return given
