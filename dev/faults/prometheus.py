"""A real Prometheus beside a case: it scrapes the case's processes, and its alerts must fire.

The rules are those of deploy/monitoring, made quicker: what takes minutes there takes seconds here, so that a
fault of the suite lasts long enough. Debian's package ``prometheus`` brings the program.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from dev.monitoring import files
from dev.processes import LOOPBACK, Process, free_port, wait_until
from dev.services import programs
from tests.system import System

#: How much quicker. Slower, and a case takes minutes; quicker, and a rate is made of two samples.
QUICKER: Final = 15
SCRAPE_S: Final = 1
_READY_S: Final = 30.0
_DURATION: Final = re.compile(r"\b(\d+)(s|m|h)\b")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
#: A threshold of a metric of seconds that grows while the fault lasts.
_GROWING: Final = re.compile(r"(coupon_(?:stalled|retrying)_seconds\) > )(\d+)")
_LEAST_S: Final = 5 * SCRAPE_S  #: of a range: a rate needs some samples


class Prometheus:
    """Asks a Prometheus that runs."""

    def __init__(self, port: int) -> None:
        self._port = port

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self._get("/api/v1/alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def wait_firing(self, name: str, *, within_s: float) -> bool:
        return wait_until(lambda: name in self.firing(), within_s=within_s, every_s=0.5)

    def wait_quiet(self, name: str, *, within_s: float) -> bool:
        return wait_until(lambda: name not in self.firing(), within_s=within_s, every_s=0.5)

    def is_scraping(self, targets: int) -> bool:
        """Whether so many targets have answered."""
        found = self._get("/api/v1/targets")["activeTargets"]
        return len([each for each in found if each["health"] == "up"]) == targets

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self._port}{path}", timeout=5) as answer:
            return json.load(answer)["data"]


@contextmanager
def watching(system: System) -> Iterator[Prometheus]:
    """A Prometheus that has scraped each process of the system once. Raises ServiceError, ProcessFailed."""
    program = programs.require(["prometheus"], packages=["prometheus"])
    with tempfile.TemporaryDirectory(prefix="coupon-prometheus-") as folder:
        port = free_port()
        place = Path(folder)
        (place / "rules.yml").write_text(yaml.safe_dump({"groups": quicker_rules()}))
        (place / "prometheus.yml").write_text(yaml.safe_dump(_config(system, place)))
        process = Process(
            name="Prometheus",
            command=[
                str(program),
                f"--config.file={place / 'prometheus.yml'}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address={LOOPBACK}:{port}",
                "--log.level=warn",
            ],
            log=system.folder / "prometheus.out",
            env=os.environ,
            folder=place,
            port=port,
        )
        prometheus = Prometheus(port)
        try:
            process.start().wait_ready(lambda: _answers(prometheus), within_s=_READY_S)
            if not wait_until(lambda: prometheus.is_scraping(1 + len(system.consumers)), within_s=_READY_S):
                raise RuntimeError("Prometheus does not reach the API and the consumers")
            prometheus.wait_quiet("CouponTargetDown", within_s=_READY_S)  # it was right until then
            yield prometheus
        finally:
            process.kill()


def quicker_rules() -> list[dict[str, Any]]:
    """The groups of deploy/monitoring/rules, evaluated each second."""
    groups = []
    for path in files.rules(files.MONITORING):
        for group in yaml.safe_load(path.read_text())["groups"]:
            rules = [_quicker(rule) for rule in group["rules"]]
            groups.append({"name": group["name"], "interval": f"{SCRAPE_S}s", "rules": rules})
    return groups


def _quicker(rule: dict[str, Any]) -> dict[str, Any]:
    changed = dict(rule)
    if "for" in rule:
        changed["for"] = _shorter(rule["for"], least_s=SCRAPE_S)
    expression = re.sub(r"\[(\w+)\]", lambda found: f"[{_shorter(found[1], least_s=_LEAST_S)}]", rule["expr"])
    changed["expr"] = _GROWING.sub(lambda found: f"{found[1]}{int(found[2]) / QUICKER:g}", expression)
    return changed


def _shorter(duration: str, *, least_s: int) -> str:
    [(number, unit)] = _DURATION.findall(duration)
    return f"{max(least_s, int(number) * _SECONDS[unit] // QUICKER)}s"


def _config(system: System, place: Path) -> dict[str, Any]:
    def job(name: str, processes: Sequence[Process]) -> dict[str, Any]:
        targets = [f"{LOOPBACK}:{process.port}" for process in processes]
        return {
            "job_name": name,
            "metrics_path": "/actuator/prometheus",
            "static_configs": [{"targets": targets}],
        }

    return {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(place / "rules.yml")],
        "scrape_configs": [job("coupon-api", [system.api]), job("coupon-consumer", system.consumers)],
    }


def _answers(prometheus: Prometheus) -> bool:
    try:
        prometheus.firing()
    except OSError:
        return False
    return True
