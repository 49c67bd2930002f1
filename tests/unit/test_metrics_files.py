"""The files in which a worker counts are restored by whoever notices first, once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime import metrics, metrics_files
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
    make = metrics_files._made

    def make_slowly(filename: str, content: bytes) -> str:
        made.append(threading.get_ident())
        time.sleep(0.2)
        return make(filename, content)

    monkeypatch.setattr(metrics_files, "_made", make_slowly)
    with ThreadPoolExecutor(2) as both:
        for restored in [both.submit(metrics.restore) for _ in range(2)]:
            restored.result(10)

    kept.close()

    assert len(made) == 1
    assert KeptFile.read_all_values_from_file(str(path))
