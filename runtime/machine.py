"""What is asked when somebody reads the metrics: this machine's clock and disks, and certificates' ends."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from django.conf import settings
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Machine(Collector):
    """A collector. ``folders``: written to, by what is in them; ``certificates``: files, by their setting.

    Asks the file system: not in the loop.
    """

    def __init__(self, *, folders: Mapping[str, Path], certificates: Mapping[str, Path]) -> None:
        self._folders = {**folders, "temporary": Path(tempfile.gettempdir())}
        self._certificates = certificates

    def collect(self) -> Iterator[Metric]:
        clock = GaugeMetricFamily(
            "coupon_clock_seconds", "This machine's clock when it was asked, Unix time."
        )
        clock.add_metric([], time.time())
        yield clock
        yield from self._disks()
        yield self._ends()

    def _disks(self) -> Iterator[Metric]:
        free = GaugeMetricFamily(
            "coupon_disk_free_bytes", "Room on the disk of a folder that is written to.", labels=["folder"]
        )
        size = GaugeMetricFamily(
            "coupon_disk_size_bytes", "Size of the disk of a folder that is written to.", labels=["folder"]
        )
        for name, folder in self._folders.items():
            if folder.is_dir():
                usage = shutil.disk_usage(folder)
                free.add_metric([name], usage.free)
                size.add_metric([name], usage.total)
        yield free
        yield size

    def _ends(self) -> Metric:
        ends = GaugeMetricFamily(
            "coupon_certificate_end_seconds",
            "When the first certificate of the file that a setting names ends, Unix time.",
            labels=["setting"],
        )
        for setting, file in self._certificates.items():
            if (end := _end_of(file)) is not None:
                ends.add_metric([setting], end)
        return ends


def here() -> Machine:
    """This process's machine and certificates, by its settings."""
    config = settings.CONFIG
    given = {
        "DATABASE_SSL_CA": config.database.ssl_ca,
        "DATABASE_SSL_CERTIFICATE": config.database.ssl_certificate,
        "REDIS_SSL_CA": config.redis.ssl_ca,
        "REDIS_SSL_CERTIFICATE": config.redis.ssl_certificate,
        "KAFKA_SSL_CA": config.kafka.properties.get("ssl.ca.location", ""),
        "KAFKA_SSL_CERTIFICATE": config.kafka.properties.get("ssl.certificate.location", ""),
    }
    return Machine(
        folders={"logs": config.logs.directory},
        certificates={name: Path(file) for name, file in given.items() if file},
    )


def _end_of(file: Path) -> float | None:
    """When the first of its certificates ends; None if it has none, which the start of a process refuses."""
    try:
        return _end_in(file, os.stat(file).st_mtime_ns)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=32)
def _end_in(file: Path, changed_at: int) -> float:
    found = x509.load_pem_x509_certificates(file.read_bytes())
    return min(each.not_valid_after_utc.timestamp() for each in found)
