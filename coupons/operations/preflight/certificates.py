"""Authorities' certificates that have expired, or do so soon. Reads the files that the settings name."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight.findings import Finding, red, yellow
from runtime.config import Config

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
        yield red(f"{variable}: {path} holds no certificate ({error})", f"a PEM file in {variable}")
        return
    expiries = [str(each["notAfter"]) for each in context.get_ca_certs()]
    left_days = [(ssl.cert_time_to_seconds(each) - time.time()) / _DAY_S for each in expiries]
    if not left_days:
        yield red(f"{variable}: {path} holds no authority's certificate", f"the authority's in {variable}")
    elif max(left_days) < 0:  # a bundle may keep an old one beside the new one
        yield red(f"{variable}: {path} expired {-max(left_days):.0f} days ago", "the authority's new one")
    elif max(left_days) < _SOON_DAYS:
        yield yellow(f"{variable}: {path} expires in {max(left_days):.0f} days", "the authority's new one")
