"""Log files and formats.

``logs/core/application.log`` (API and commands) and ``logs/consumer/application.log``, plus
standard error for container logs. Several processes append to one file, each record in one
write (runtime/log_file.py).

For batches of hundreds of events, ``info_each`` writes a line for each event in one record, which
costs one check of the file and one write.
"""

from __future__ import annotations

import copy
import json
import logging.config
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

from runtime.config import ConfigError, LogSettings

TEXT = "%(asctime)s.%(msecs)03d %(levelname)-5s %(process)d --- [%(threadName)s] %(name)s : %(message)s"
#: Loggers of OpenTelemetry that somebody else, a collector or a caller, can make write a line each time.
_OF_TRACING: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)
JSON = "%(asctime)s %(levelname)s %(process)d %(threadName)s %(name)s %(message)s"


def info_each(log: logging.Logger, template: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Log ``template % row`` as a line for each row, all in one record."""
    if rows:
        log.info(Lines(template, rows), stacklevel=2)


TraceOf = Callable[[object], str]  #: the trace of what a row's first column names; empty if it has none
_trace_of: TraceOf | None = None


def tell_traces(trace_of: TraceOf | None) -> None:
    """From now on the lines of ``info_each`` name the trace of their row, if it has one; None: no more."""
    global _trace_of
    _trace_of = trace_of


class Lines:
    """A record's message that stands for several lines; a formatter that is not ours writes their text."""

    def __init__(self, template: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._template = template
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        return map(self._template.__mod__, self._rows)

    def __str__(self) -> str:
        return "\n".join(self)

    def traces(self) -> Iterator[str] | None:
        """The trace of each line, empty where it has none; None where nothing is traced."""
        return None if _trace_of is None else map(_trace_of, [row[0] for row in self._rows])


class LineFormatter(logging.Formatter):
    """The usual format, also for each of ``Lines``: the text around the message is made once for all."""

    _MESSAGE: Final = "<message>"

    def format(self, record: logging.LogRecord) -> str:
        if not isinstance(record.msg, Lines):
            return super().format(record)
        frame = copy.copy(record)
        frame.msg = self._MESSAGE
        before, _, after = super().format(frame).partition(self._MESSAGE)
        lines, traces = map(self._written, record.msg), record.msg.traces()
        if traces is not None:
            lines = map(self._with_trace, lines, traces)
        return before + f"{after}\n{before}".join(lines) + after

    def _written(self, line: str) -> str:
        return line

    def _with_trace(self, written: str, trace_id: str) -> str:
        return f"{written}, TraceId: {trace_id}" if trace_id else written


class JsonLineFormatter(LineFormatter, JsonFormatter):
    def _written(self, line: str) -> str:
        return json.dumps(line, ensure_ascii=self.json_ensure_ascii)[1:-1]

    def _with_trace(self, written: str, trace_id: str) -> str:
        """A field of its own, behind the message that ends here."""
        return f'{written}", "trace_id": "{trace_id}' if trace_id else written


class Seldom(logging.Filter):
    """Lets one line of each kind through in ``every_s``; the kind is the line's first word."""

    def __init__(self, *, every_s: float) -> None:
        super().__init__()
        self._every_s = every_s
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = record.getMessage().partition(" ")[0], time.monotonic()
        if now - self._last.get(kind, float("-inf")) < self._every_s:
            return False
        self._last[kind] = now
        return True


def configure(settings: LogSettings, *, role: Literal["core", "consumer"]) -> None:
    """Set up logging for this process; exits with one line when the folder cannot be written."""
    folder = settings.directory / role
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "application.log").open("a"):
            pass
    except OSError as error:
        refused = ConfigError(
            "COUPON_LOG_DIR: cannot write {path}: {error}",
            path=folder / "application.log",
            error=error.strerror,
        )
        raise SystemExit(f"settings: {refused}") from refused
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "text": {
                    "()": "runtime.logs.LineFormatter",
                    "fmt": TEXT,
                    "datefmt": "%Y-%m-%d %H:%M:%S",
                },
                "json": {
                    "()": "runtime.logs.JsonLineFormatter",
                    "fmt": JSON,
                    "json_ensure_ascii": False,
                    "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                },
            },
            "filters": {
                # Shorter, and librdkafka fills the log while a broker is away; longer, and it looks silent.
                "every_10_s": {"()": "runtime.logs.Seldom", "every_s": 10.0},
                "every_minute": {"()": "runtime.logs.Seldom", "every_s": 60.0},
            },
            "handlers": {
                "file": {
                    "()": "runtime.log_file.LogFile",
                    "path": str(folder / "application.log"),
                    "max_bytes": settings.max_bytes,
                    "backups": settings.backups,
                    "formatter": settings.format,
                },
                "console": {
                    "class": "logging.StreamHandler",
                    "formatter": settings.format,
                    # The lines of each claim go to the file only; a terminal or container log needs warnings.
                    "level": "WARNING",
                },
            },
            "root": {"handlers": ["file", "console"], "level": settings.level},
            "loggers": {
                # Refusals are answers, not incidents: Django would log a warning for each 4xx.
                "django.request": {"level": "ERROR"},
                # redis_lock logs every acquisition.
                "redis_lock": {"level": "ERROR"},
                # librdkafka writes a line per attempt to connect, several a second while a broker is away.
                "coupons.librdkafka": {"filters": ["every_10_s"]},
                # A Redis that is away or refuses us fails every call.
                "coupons.redis": {"filters": ["every_minute"]},
                # A collector that is away fails every batch of spans; and callers may send any header.
                **{name: {"filters": ["every_minute"]} for name in _OF_TRACING},
            },
        }
    )
