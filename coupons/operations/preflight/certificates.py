"""Authorities' certificates that have expired, or do so soon. Reads the files that the settings name."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight.findings import Finding, red, yellow
from runtime.config import Config
from runtime.operator_language import say

#: Shorter, and it expires before somebody has a new one; longer, and short-lived authorities are always
#: found.
_SOON_DAYS: Final = 21
_DAY_S: Final = 86_400


def findings(config: Config) -> Iterator[Finding]:
    named = {
        "DATABASE_SSL_CA": config.database.ssl_ca,
        "REDIS_SSL_CA": config.redis.ssl_ca,
        "KAFKA_SSL_CA": config.kafka.properties.get("ssl.ca.location", ""),
    }
    for variable, path in named.items():
        if path:
            yield from _of_file(variable, path)


def _of_file(variable: str, path: str) -> Iterator[Finding]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        yield red(
            say(
                "{variable}: {path} holds no certificate ({error})", variable=variable, path=path, error=error
            ),
            say("a PEM file in {variable}", variable=variable),
        )
        return
    expiries = [str(each["notAfter"]) for each in context.get_ca_certs()]
    left_days = [(ssl.cert_time_to_seconds(each) - time.time()) / _DAY_S for each in expiries]
    if not left_days:
        yield red(
            say("{variable}: {path} holds no authority's certificate", variable=variable, path=path),
            say("the authority's in {variable}", variable=variable),
        )
    elif max(left_days) < 0:  # a bundle may keep an old one beside the new one
        yield red(
            say(
                "{variable}: {path} expired {days:.0f} days ago",
                variable=variable,
                path=path,
                days=-max(left_days),
            ),
            say("the authority's new one"),
        )
    elif max(left_days) < _SOON_DAYS:
        yield yellow(
            say(
                "{variable}: {path} expires in {days:.0f} days",
                variable=variable,
                path=path,
                days=max(left_days),
            ),
            say("the authority's new one"),
        )
