"""The settings that no server is asked about: secrets, hosts, Django's own list for a deployment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.core import checks

from coupons.operations.preflight import certificates, encryption
from coupons.operations.preflight.findings import Check, Expected, Finding, Subject, note, red, yellow
from runtime import secret_strength
from runtime.config import Config
from runtime.operator_language import say

#: Of `check --deploy`, what other checks here tell in our settings' words: SECRET_KEY, DEBUG,
#: ALLOWED_HOSTS; and what COUPON_BEHIND_HTTPS alone decides.
_TOLD_HERE: Final = frozenset({"security.W009", "security.W018", "security.W020", "coupons.E010"})
_OF_HTTPS: Final = frozenset({"security.W004", "security.W008", "security.W012", "security.W016"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """``messages``: of Django's checks for a deployment."""

    config: Config
    messages: Sequence[checks.CheckMessage] = ()


def read(expected: Expected) -> Site:
    return Site(config=settings.CONFIG, messages=checks.run_checks(include_deployment_checks=True))


def secrets(site: Site) -> Iterator[Finding]:
    for weakness in secret_strength.weaknesses(site.config):
        yield red(say(weakness), say(secret_strength.MEND))
    if site.config.site.secret_key in site.config.identity.secret.split():
        yield red(
            say("COUPON_IDENTITY_SECRET is the SECRET_KEY: the shop could forge logins"),
            say(secret_strength.MEND),
        )


def debug(site: Site) -> Iterator[Finding]:
    if site.config.site.debug:
        yield red(say("DEBUG is on: an error's page shows settings and code to everybody"), "DEBUG=false")


def hosts(site: Site) -> Iterator[Finding]:
    allowed = set(site.config.site.allowed_hosts)
    if "*" in allowed:
        yield yellow(
            say("ALLOWED_HOSTS is *: a request may claim to be for any host"),
            "ALLOWED_HOSTS=coupons.example.com",
        )
    elif allowed <= _LOOPBACK:
        yield yellow(
            say("ALLOWED_HOSTS names this machine alone: whoever asks for another name is refused (400)"),
            say("ALLOWED_HOSTS=coupons.example.com, the names that clients ask for"),
        )


def https(site: Site) -> Iterator[Finding]:
    if not site.config.site.behind_https:
        yield yellow(
            say(
                "COUPON_BEHIND_HTTPS is off: cookies of the admin also travel in clear text, "
                "and there is no HSTS"
            ),
            say("COUPON_BEHIND_HTTPS=true, behind a proxy that ends TLS and sets X-Forwarded-Proto itself"),
        )


def deploy(site: Site) -> Iterator[Finding]:
    left_out = _TOLD_HERE if site.config.site.behind_https else _TOLD_HERE | _OF_HTTPS
    for message in site.messages:
        if message.id in left_out or message.is_silenced() or message.level < checks.WARNING:
            continue
        finding = red if message.level >= checks.ERROR else yellow
        mend = " ".join(str(message.hint or say("see `python manage.py check --deploy`")).split())
        yield finding(f"{message.msg} ({message.id})", mend)


def identity(site: Site) -> Iterator[Finding]:
    if not site.config.identity.is_on:
        yield yellow(
            say("nobody proves who they are: any client may claim and read in the name of any user"),
            say("COUPON_TICKET_KEYS, COUPON_TICKET_JWKS or COUPON_IDENTITY_SECRET (docs/integrate.md)"),
        )


def operations_port(site: Site) -> Iterator[Finding]:
    if not site.config.api.operations_port:
        yield note(
            say(
                "COUPON_API_OPERATIONS_PORT is not set: health, metrics and the admin are on the public port"
            ),
            say("COUPON_API_OPERATIONS_PORT=8082, or a proxy that lets /api/ through alone"),
        )


def address(site: Site) -> Iterator[Finding]:
    if site.config.api.host in ("127.0.0.1", "localhost", "::1"):
        yield note(
            say(
                "COUPON_API_HOST is {host}: only programs of this machine reach the API",
                host=site.config.api.host,
            ),
            say("COUPON_API_HOST=0.0.0.0, unless a proxy on this machine is in front"),
        )


def logging(site: Site) -> Iterator[Finding]:
    if site.config.logs.level == "DEBUG":
        yield yellow(
            say("COUPON_LOG_LEVEL is DEBUG: lines for each step of each claim"), "COUPON_LOG_LEVEL=INFO"
        )
    elif site.config.logs.level != "INFO":
        yield note(
            say(
                "COUPON_LOG_LEVEL is {level}: no line tells that a coupon was issued",
                level=site.config.logs.level,
            ),
            "COUPON_LOG_LEVEL=INFO",
        )


def timeouts(site: Site) -> Iterator[Finding]:
    """Values that are allowed, and with which a healthy server or client looks as if it were away."""
    if site.config.api.keepalive_s <= 60:
        yield yellow(
            say(
                "COUPON_API_KEEPALIVE_S is {keepalive_s}: a balancer that keeps connections for"
                " 60 s sends claims into closed ones",
                keepalive_s=site.config.api.keepalive_s,
            ),
            say("COUPON_API_KEEPALIVE_S=75, or more than the balancer's own"),
        )
    if site.config.redis.timeout_s < 0.1:
        yield yellow(
            say(
                "COUPON_REDIS_TIMEOUT_MS is {timeout_s:.0f}: a moment's delay counts as Redis "
                "away, and the database decides",
                timeout_s=site.config.redis.timeout_s * 1000,
            ),
            "COUPON_REDIS_TIMEOUT_MS=500",
        )
    if site.config.producer.publish_timeout_ms < 3000:
        yield yellow(
            say(
                "COUPON_PUBLISH_TIMEOUT_MS is {publish_timeout_ms}: claims are refused while a "
                "partition changes its leader",
                publish_timeout_ms=site.config.producer.publish_timeout_ms,
            ),
            "COUPON_PUBLISH_TIMEOUT_MS=5000",
        )
    if site.config.consumer.session_timeout_ms < 6000:
        yield yellow(
            say(
                "COUPON_CONSUMER_SESSION_TIMEOUT_MS is {session_timeout_ms}: a consumer that is"
                " held up for a moment loses its partitions",
                session_timeout_ms=site.config.consumer.session_timeout_ms,
            ),
            "COUPON_CONSUMER_SESSION_TIMEOUT_MS=10000",
        )


SUBJECT: Final = Subject(
    name="settings",
    read=read,
    told=lambda site: say("every variable has a value that can be used"),
    checks=(
        Check(name="secrets", right="no secret can be guessed or looked up", look=secrets),
        Check(name="debug", right="DEBUG is off", look=debug),
        Check(name="hosts", right="ALLOWED_HOSTS names what clients ask for", look=hosts),
        Check(name="https", right="cookies are for https alone", look=https),
        Check(name="deploy", right="`check --deploy` finds nothing else", look=deploy),
        Check(name="identity", right="a claim proves who claims", look=identity),
        Check(name="operations-port", right="the admin is on a port of its own", look=operations_port),
        Check(name="address", right="the API listens to the network", look=address),
        Check(name="logging", right="the log tells of each coupon", look=logging),
        Check(name="timeouts", right="no timeout is shorter than a usual delay", look=timeouts),
        Check(
            name="encryption",
            right="every connection is encrypted, and the server proves who it is",
            look=lambda site: encryption.findings(site.config),
        ),
        Check(
            name="certificates",
            right="no authority's certificate expires soon",
            look=lambda site: certificates.findings(site.config),
        ),
    ),
)
