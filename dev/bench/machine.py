"""What the figures were measured on, and with which settings."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.conf import settings

from dev.processes import PROJECT
from dev.services.own import Services


def facts(services: Services) -> dict[str, Any]:
    """Nothing in it names this machine: it may be published."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "versions": {
            "Python": platform.python_version(),
            **{
                name: version(name)
                for name in ("django", "djangorestframework", "gunicorn", "confluent-kafka")
            },
            **services.versions(),
        },
        "settings": shipped_settings(),
    }


def shipped_settings() -> dict[str, Any]:
    """What shapes the figures; neither secrets nor addresses."""
    config = settings.CONFIG
    api = asdict(config.api)
    for name in ("identity_secret", "host", "port"):
        api.pop(name, None)
    return {
        "api": api,
        "producer": asdict(config.producer),
        "consumer": asdict(config.consumer),
        "partitions": config.kafka.partitions,
        "log_level": config.logs.level,
    }


def line(told: dict[str, Any]) -> str:
    servers = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    workers = f"{told['settings']['api']['workers']} API workers"
    return (
        f"{told['cpu']}, {told['cores']} cores, {told['memory']}, {told['kernel']}; {servers}; {workers}; "
        f"commit {told['commit']}, {told['date']}"
    )


def _field(file: Path, name: str) -> str:
    try:
        for row in file.read_text().splitlines():
            if row.startswith(name):
                return row.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def _commit() -> str:
    """The commit, with a + if the work tree differs; empty outside of git."""
    words = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        return ""
