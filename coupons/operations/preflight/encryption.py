"""Which connections are in clear text, and which believe whoever answers. Pure.

A connection that must be encrypted and is not ends its server's subject with one red line (``database``,
``redis``, ``kafka``). Here is what the settings allow.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from coupons.operations.preflight.findings import Finding, note, red, yellow
from runtime.config import Config
from runtime.config.database import SslMode
from runtime.operator_language import say

_KNOWN_PASSWORDS: Final = ("", "application", "root", "password", "mysql", "secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """``mend``: the setting that encrypts it. ``is_local``: it does not leave this machine."""

    name: str
    is_encrypted: bool
    is_local: bool
    mend: str


def findings(config: Config) -> Iterator[Finding]:
    connections = list(of(config))
    clear = [each for each in connections if not each.is_encrypted]
    if len(clear) < len(connections) or not all(each.is_local for each in clear):
        # Beside encrypted ones a local one too: somebody wanted TLS, and forgot it here.
        for each in clear:
            yield yellow(say("the connection to {name} is in clear text", name=each.name), each.mend)
    elif clear:
        yield note(say("{names} are reached in clear text, and on this machine alone", names=_listed(clear)))
    yield from _unproven(config)
    yield from _open_passwords(config)
    yield from _guessed(config)


def of(config: Config) -> Iterator[Connection]:
    database = config.database
    for name, url in ((say("the database"), database.url), (say("the replica"), database.replica_url)):
        if url.startswith("mysql:"):
            yield Connection(
                name=name,
                is_encrypted=database.must_be_encrypted,
                is_local=_is_socket(url) or _is_local(urlsplit(url).hostname or "localhost"),
                mend=say("DATABASE_SSL_CA=/path/ca.pem, and DATABASE_SSL_MODE=VERIFY_IDENTITY"),
            )
    redis = config.redis
    yield Connection(
        name="Redis",
        is_encrypted=redis.is_encrypted,
        is_local=all(_is_local(host) for host, _ in redis.addresses),
        mend=say("REDIS_URL=rediss…, and REDIS_SSL_CA=/path/ca.pem"),
    )
    protocol = config.kafka.protocol
    yield Connection(
        name="Kafka",
        is_encrypted=protocol.is_encrypted,
        is_local=all(_is_local(_host(each)) for each in config.kafka.bootstrap_servers.split(",")),
        mend=say(
            "KAFKA_SECURITY_PROTOCOL={protocol}, and KAFKA_SSL_CA=/path/ca.pem",
            protocol="SASL_SSL" if protocol.has_login else "SSL",
        ),
    )


def _unproven(config: Config) -> Iterator[Finding]:
    """Encrypted, and anybody in between may answer."""
    if config.database.ssl_mode is SslMode.REQUIRED:
        yield yellow(
            say("DATABASE_SSL_MODE is REQUIRED: encrypted, by whoever answers"),
            say("DATABASE_SSL_CA=/path/ca.pem, and DATABASE_SSL_MODE=VERIFY_IDENTITY"),
        )
    if config.database.ssl_mode is SslMode.VERIFY_CA:
        yield note(say("DATABASE_SSL_MODE is VERIFY_CA: any server of that authority is believed"))
    if config.redis.is_encrypted and not config.redis.checks_hostname:
        yield note(say("REDIS_URL has ssl_check_hostname=no: any server of that authority is believed"))
    properties = config.kafka.properties
    if config.kafka.protocol.is_encrypted:
        if properties.get("enable.ssl.certificate.verification", "true").lower() == "false":
            yield red(
                say(
                    "KAFKA_CLIENT_CONFIG has enable.ssl.certificate.verification=false: whoever "
                    "answers is believed"
                ),
                say("leave it out, and set KAFKA_SSL_CA"),
            )
        if properties.get("ssl.endpoint.identification.algorithm", "https") == "none":
            yield note(
                say("Kafka's certificates are not compared with the host: any of that authority is believed")
            )


def _open_passwords(config: Config) -> Iterator[Finding]:
    if config.kafka.protocol.has_login and not config.kafka.protocol.is_encrypted:
        mechanism = config.kafka.mechanism
        yield yellow(
            say(
                "KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT: the login ({mechanism}) is sent in clear text",
                mechanism=mechanism,
            ),
            "KAFKA_SECURITY_PROTOCOL=SASL_SSL",
        )
    token_url = config.kafka.properties.get("sasl.oauthbearer.token.endpoint.url", "")
    if token_url.startswith("http://") and not _is_local(urlsplit(token_url).hostname or ""):
        yield yellow(say("KAFKA_SASL_OAUTH_TOKEN_URL is http: the secret is sent in clear text"), "https://…")
    if not (config.redis.password or config.redis.ssl_certificate or _all_local(config)):
        yield yellow(
            say("REDIS_URL has no password: whoever reaches Redis may change gates"),
            "REDIS_URL=rediss://user:password@… (docs/connections.md)",
        )


def _guessed(config: Config) -> Iterator[Finding]:
    """Logins that everybody tries first."""
    parts = urlsplit(config.database.url)
    if parts.scheme != "mysql":
        return
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user == "root":
        yield yellow(
            say("DATABASE_URL logs in as root, whom no read-only database refuses"),
            say("a user with rights on this database alone"),
        )
    if password in _KNOWN_PASSWORDS and not _is_local(parts.hostname or "localhost"):
        yield yellow(say("DATABASE_URL has a password that everybody tries first"), say("a long random one"))


def _all_local(config: Config) -> bool:
    return all(_is_local(host) for host, _ in config.redis.addresses)


def _listed(connections: Iterable[Connection]) -> str:
    return ", ".join(each.name for each in connections)


def _is_socket(url: str) -> bool:
    return "unix_socket" in parse_qs(urlsplit(url).query)


def _host(address: str) -> str:
    """The host of ``host:port``, or of ``PROTOCOL://host:port``."""
    return urlsplit(address if "://" in address else f"//{address}").hostname or ""


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
