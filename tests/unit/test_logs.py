"""Many lines in one record: each is the line it would have been alone, and all are one write."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from runtime import logs
from runtime.config import LogSettings

TEMPLATE = "쿠폰 발급 성공 - EventId: %s, UserCouponId: %s"
ROWS = [("aaa", 1), ("bbb", 2), ('"quoted" \\ <message>', 3)]


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Logging is as the settings say again after the test."""
    yield
    logs.configure(settings.CONFIG.logs, role="core")


def configured(folder: Path, *, kind: str, level: str = "INFO") -> Path:
    logs.configure(LogSettings(directory=folder, level=level, format=kind), role="consumer")
    return folder / "consumer" / "application.log"


@pytest.mark.usefixtures("_own_logging")
def test_each_row_is_a_line_with_time_level_and_logger(tmp_path: Path) -> None:
    file = configured(tmp_path, kind="text")
    log = logging.getLogger("consumer.batch")

    logs.info_each(log, TEMPLATE, ROWS)
    log.info("alone")

    *lines, alone = file.read_text().splitlines()
    heads, messages = zip(*(line.split(" : ", 1) for line in lines), strict=True)
    assert list(messages) == [TEMPLATE % row for row in ROWS]
    assert len(set(heads)) == 1
    # The same head as a line that was logged alone, but for the time.
    assert heads[0].split()[2:] == alone.split(" : ")[0].split()[2:]
    assert heads[0].split()[2] == "INFO"
    assert heads[0].endswith(" consumer.batch")


@pytest.mark.usefixtures("_own_logging")
def test_each_row_is_a_json_object_of_its_own(tmp_path: Path) -> None:
    file = configured(tmp_path, kind="json")
    log = logging.getLogger("consumer.batch")

    logs.info_each(log, TEMPLATE, ROWS)
    log.info("alone")

    *objects, alone = map(json.loads, file.read_text().splitlines())
    assert [each["message"] for each in objects] == [TEMPLATE % row for row in ROWS]
    for each in objects:
        assert each.keys() == alone.keys()
        assert (each["level"], each["logger"]) == ("INFO", "consumer.batch")
    assert "쿠폰" in file.read_text()


@pytest.fixture
def _traced() -> Iterator[None]:
    logs.tell_traces(lambda name: "4bf92f" if name == "bbb" else "")
    yield
    logs.tell_traces(None)


@pytest.mark.usefixtures("_own_logging", "_traced")
def test_a_line_of_a_traced_row_names_its_trace(tmp_path: Path) -> None:
    file = configured(tmp_path, kind="text")

    logs.info_each(logging.getLogger("consumer.batch"), TEMPLATE, ROWS)

    messages = [line.split(" : ", 1)[1] for line in file.read_text().splitlines()]
    first, second, third = (TEMPLATE % row for row in ROWS)
    assert messages == [first, f"{second}, TraceId: 4bf92f", third]


@pytest.mark.usefixtures("_own_logging", "_traced")
def test_in_json_the_trace_is_a_field_of_its_own(tmp_path: Path) -> None:
    file = configured(tmp_path, kind="json")

    logs.info_each(logging.getLogger("consumer.batch"), TEMPLATE, ROWS)

    objects = [*map(json.loads, file.read_text().splitlines())]
    assert [each["message"] for each in objects] == [TEMPLATE % row for row in ROWS]
    assert [each.get("trace_id") for each in objects] == [None, "4bf92f", None]


@pytest.mark.usefixtures("_own_logging")
def test_all_lines_are_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand lines are far more than a file's buffer; lines of another process must not get between."""
    file = configured(tmp_path, kind="text")
    written: list[int] = []
    write = os.write

    def noting_write(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr("runtime.log_file.os.write", noting_write)
    logs.info_each(logging.getLogger("consumer.batch"), TEMPLATE, [(n, n) for n in range(1000)])

    assert written == [file.stat().st_size]
    assert len(file.read_text().splitlines()) == 1000


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize(("level", "rows"), [("WARNING", ROWS), ("INFO", [])])
def test_nothing_is_written_below_the_level_or_without_rows(
    tmp_path: Path, level: str, rows: list[tuple[object, ...]]
) -> None:
    file = configured(tmp_path, kind="text", level=level)

    logs.info_each(logging.getLogger("consumer.batch"), TEMPLATE, rows)

    assert file.read_text() == ""


def test_a_handler_that_is_not_ours_gets_the_lines_as_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logs.info_each(logging.getLogger("consumer.batch"), TEMPLATE, ROWS)

    assert caplog.messages == ["\n".join(TEMPLATE % row for row in ROWS)]
    assert caplog.records[0].filename == "test_logs.py"
