"""Whether claims are traced, and how many. The exporter reads the other OTEL_* variables by itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from environs import Env
from marshmallow.validate import Range

from runtime.config.reading import ConfigError

_PACKAGES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """``endpoint``: the collector, which gets OTLP as protobuf over HTTP."""

    is_on: bool = False
    ratio: float = 0.01  #: of the claims whose caller traces nothing, so many begin a trace
    most_per_second: int = 100  #: traces in which one process takes part, whatever callers and ratio say
    endpoint: str = ""


def load(env: Env) -> TracingSettings:
    settings = TracingSettings(
        is_on=env.bool("COUPON_TRACING", False),
        ratio=env.float("COUPON_TRACING_RATIO", 0.01, validate=Range(min=0, max=1)),
        most_per_second=env.int("COUPON_TRACING_MOST_PER_SECOND", 100, validate=Range(min=1, max=100_000)),
        endpoint=env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
    )
    if settings.is_on:
        _refuse_what_cannot_work(settings)
    return settings


def _refuse_what_cannot_work(settings: TracingSettings) -> None:
    """Without tracing nothing is wrong: a cluster may set OTEL_* for other programs."""
    if not settings.endpoint.startswith(("http://", "https://")):
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is no URL of a collector: COUPON_TRACING sends to http://HOST:4318, "
            "or https:// (OTLP over HTTP, no gRPC)"
        )
    if not all(map(_is_installed, _PACKAGES)):
        raise ConfigError(
            "COUPON_TRACING is on, and OpenTelemetry is not installed: "
            "pip install -r requirements/tracing.txt (an image: docker build --build-arg TRACING=true), "
            "or set COUPON_TRACING=false"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False
