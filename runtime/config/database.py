"""How the database is reached: URLs, and TLS under one spelling whatever the client library's is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from environs import Env
from marshmallow.validate import OneOf

from runtime.config.reading import ConfigError, readable_file, secret, together

#: Options of a URL's query. Django would pass any other one to the driver, which fails at the first query.
_OPTIONS: Final = {"mysql": ("unix_socket",), "sqlite": ()}


class SslMode(StrEnum):
    """As MySQL's clients call them. PREFERRED is missing: it means clear text wherever that is easier."""

    DISABLED = "DISABLED"
    REQUIRED = "REQUIRED"  #: encrypted; any certificate
    VERIFY_CA = "VERIFY_CA"  #: and a certificate of DATABASE_SSL_CA
    VERIFY_IDENTITY = "VERIFY_IDENTITY"  #: and one for the host that the URL names


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    url: str = field(repr=False)
    replica_url: str = field(default="", repr=False)  #: for reads that may be stale; empty: there is none
    ssl_mode: SslMode = SslMode.DISABLED
    ssl_ca: str = ""  #: paths of PEM files
    ssl_certificate: str = ""
    ssl_key: str = ""

    @property
    def must_be_encrypted(self) -> bool:
        return self.ssl_mode is not SslMode.DISABLED


def load(env: Env, *, folder: Path) -> DatabaseSettings:
    """``folder``: of the SQLite file, where no database is named."""
    url = _url("DATABASE_URL", secret(env, "DATABASE_URL", f"sqlite:///{folder}/coupons.sqlite3"))
    replica_url = secret(env, "DATABASE_REPLICA_URL")
    if replica_url and urlsplit(_url("DATABASE_REPLICA_URL", replica_url)).scheme != urlsplit(url).scheme:
        raise ConfigError("DATABASE_REPLICA_URL must begin as DATABASE_URL does")
    own = {name: readable_file(env, name) for name in ("DATABASE_SSL_CERTIFICATE", "DATABASE_SSL_KEY")}
    together(own)
    ca = readable_file(env, "DATABASE_SSL_CA")
    settings = DatabaseSettings(
        url=url,
        replica_url=replica_url,
        ssl_mode=_ssl_mode(env, ca=ca),
        ssl_ca=ca,
        ssl_certificate=own["DATABASE_SSL_CERTIFICATE"],
        ssl_key=own["DATABASE_SSL_KEY"],
    )
    _refuse_what_is_not_used(settings)
    return settings


def _ssl_mode(env: Env, *, ca: str) -> SslMode:
    chosen = env.str("DATABASE_SSL_MODE", "", validate=OneOf(["", *SslMode]))
    return SslMode(chosen or (SslMode.VERIFY_IDENTITY if ca else SslMode.DISABLED))


def _refuse_what_is_not_used(settings: DatabaseSettings) -> None:
    mode = settings.ssl_mode
    if settings.must_be_encrypted and not settings.url.startswith("mysql:"):
        raise ConfigError("DATABASE_SSL_MODE and DATABASE_SSL_CA are for mysql:// URLs: leave them out")
    if settings.ssl_ca and mode in (SslMode.DISABLED, SslMode.REQUIRED):
        raise ConfigError(
            "DATABASE_SSL_CA is not used with DATABASE_SSL_MODE={mode}: "
            "set that to VERIFY_IDENTITY or VERIFY_CA",
            mode=mode,
        )
    if mode is SslMode.VERIFY_CA and not settings.ssl_ca:
        raise ConfigError("DATABASE_SSL_MODE=VERIFY_CA needs DATABASE_SSL_CA")
    if settings.ssl_certificate and not settings.must_be_encrypted:
        raise ConfigError(
            "DATABASE_SSL_CERTIFICATE is not used with DATABASE_SSL_MODE=DISABLED: set that to REQUIRED, "
            "VERIFY_CA or VERIFY_IDENTITY"
        )


def _url(name: str, value: str) -> str:
    # No message repeats the value, which may hold a password.
    try:
        parts = urlsplit(value)
        usable = parts.scheme in _OPTIONS and (parts.port is None or parts.port > 0)
        # Without a host the client library takes its own default, a socket.
        options = parse_qsl(parts.query, keep_blank_values=True)
        is_reached = bool(parts.hostname) or any(
            option == "unix_socket" and path.startswith("/") for option, path in options
        )
        usable = usable and (parts.scheme != "mysql" or (len(parts.path) > 1 and is_reached))
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            "{name} is no usable URL: it begins with mysql:// or sqlite://, a port is at most 65535, "
            "and mysql:// has a host and ends with the database",
            name=name,
        )
    for option, _ in options:
        if option not in _OPTIONS[parts.scheme]:
            raise _unknown_option(name, option)
    return value


def _unknown_option(name: str, option: str) -> ConfigError:
    if "ssl" in option.lower():
        return ConfigError(
            "{name} has the option {option}, which we do not know: TLS is DATABASE_SSL_MODE, "
            "DATABASE_SSL_CA, DATABASE_SSL_CERTIFICATE and DATABASE_SSL_KEY",
            name=name,
            option=option,
        )
    return ConfigError(
        "{name} has the option {option}, which we do not know: leave it out; mysql:// knows unix_socket, "
        "sqlite:// knows none",
        name=name,
        option=option,
    )
