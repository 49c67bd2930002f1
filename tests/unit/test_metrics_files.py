"""The files in which a worker counts are restored by whoever notices first, once."""

from __future__ import annotations

import os
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import Histogram, mmap_dict

from runtime import metrics
from runtime.metrics_files import KeptFile


def test_a_deleted_file_is_written_again_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop looks once a second, and whoever reads the metrics looks in a thread."""
    monkeypatch.setattr(KeptFile, "open_files", [])
    path = tmp_path / "counter_1.db"
    kept = KeptFile(str(path))
    kept.write_value("n", 7.0, 0.0)
    path.unlink()
    made: list[int] = []
    allocate = os.posix_fallocate

    def allocate_slowly(descriptor: int, offset: int, size: int) -> None:
        made.append(threading.get_ident())
        time.sleep(0.2)
        allocate(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", allocate_slowly)
    with ThreadPoolExecutor(2) as both:
        for restored in [both.submit(metrics.restore) for _ in range(2)]:
            restored.result(10)

    kept.close()

    assert len(made) == 1
    assert KeptFile.read_all_values_from_file(str(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("counter_2.db", b"\xff" * 4096),
        ("counter_2.db", struct.pack("<i4xi", 4000, 3) + b"\xff" * 4000),
        ("counter_2.db", struct.pack("<i4xi", 40, 4) + b"[{}]" + b"\0" * 4000),
        ("histogram_2.db", b"\x10\0\0\0"),
        ("nonsense.db", struct.pack("<i4xi", 40, 4) + b"[{}]" + b"\0" * 4000),
    ],
    ids=range(5),
)
def test_a_damaged_file_costs_its_own_values_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(KeptFile, "open_files", [])
    kept = KeptFile(str(tmp_path / "counter_1.db"))
    key = mmap_dict.mmap_key("n", "n_total", [], [], "help")
    kept.write_value(key, 7.0, 0.0)
    (tmp_path / name).write_bytes(content)

    assert "n_total 7.0" in metrics.exposition().decode()
    kept.close()


def test_many_values_at_once_are_observed_as_each_alone() -> None:
    """prometheus_client has no such method: its own ``observe`` says what must come out."""
    values = [0.0, 0.001, 0.0011, 0.3, 9.0, 10.0, 11.0, 0.0]
    at_once, alone = (Histogram("x", "y", buckets=(0.001, 0.01, 1.0, 10.0), registry=None) for _ in range(2))

    metrics.observe_each(at_once, values)
    for value in values:
        alone.observe(value)

    def told(histogram: Histogram) -> list[tuple[str, object, float]]:
        [metric] = histogram.collect()
        return [
            (each.name, each.labels, each.value) for each in metric.samples if "_created" not in each.name
        ]

    assert told(at_once) == told(alone)
