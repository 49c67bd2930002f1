"""Counters of the hottest names: bounded, added up over processes, and kept when their file is deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import hot_counts, metrics_folder
from runtime.hot_counts import MOST, HotCounts


def made() -> HotCounts:
    return HotCounts("coupon_test_total", "For the test.", ("coupon", "outcome"), ["YES", "NO"])


def read(counts: HotCounts) -> dict[tuple[str, str], float]:
    [family] = counts.collect()
    return {(s.labels["coupon"], s.labels["outcome"]): s.value for s in family.samples}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(metrics_folder.VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(metrics_folder.VARIABLE, raising=False)


@pytest.mark.usefixtures("alone")
def test_names_and_kinds_are_counted() -> None:
    counts = made()
    assert read(counts) == {}

    counts.count({(7, "YES"): 2, (7, "NO"): 1, (8, "NO"): 5})
    counts.count({(7, "YES"): 1})

    assert read(counts) == {("7", "YES"): 3, ("7", "NO"): 1, ("8", "NO"): 5}


@pytest.mark.usefixtures("alone")
def test_there_are_never_more_names_than_slots() -> None:
    counts = made()

    counts.count({(name, "YES"): 1 for name in range(1, 1001)})

    found = read(counts)
    assert len(found) == MOST + 1
    assert sum(found.values()) == 1000
    assert found["other", "YES"] == 1000 - MOST


@pytest.mark.usefixtures("alone")
def test_the_hottest_take_the_slots_of_the_coldest() -> None:
    counts = made()
    counts.count({(name, "YES"): 10 if name > 1 else 1 for name in range(1, MOST + 1)})
    counts.count({(500, "NO"): 100})
    assert read(counts)["other", "NO"] == 100

    counts.rank()
    counts.count({(500, "NO"): 3, (1, "YES"): 1})

    found = read(counts)
    assert ("1", "YES") not in found
    assert found["500", "NO"] == 3, "it begins at 0: what was told as other stays there"
    assert found["other", "NO"] == 100
    assert found["other", "YES"] == 1


@pytest.mark.usefixtures("alone")
def test_names_that_nobody_asks_for_any_more_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = made()
    counts.count({(name, "YES"): 1000 for name in range(1, MOST + 1)})
    counts.rank()

    counts.count({(900, "YES"): 1})
    counts.rank()
    counts.count({(900, "YES"): 1})

    assert read(counts)["900", "YES"] == 1


@pytest.mark.usefixtures("alone")
def test_heat_is_ranked_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_counts, "EVERY_S", 0.0)
    counts = made()
    counts.count({(name, "YES"): 1 for name in range(1, MOST + 1)})

    counts.count({(900, "YES"): 5})
    counts.count({(900, "YES"): 5})

    assert read(counts)["900", "YES"] == 5


def test_processes_are_added_up(folder: Path) -> None:
    counts = made()
    counts.count({(7, "YES"): 2})
    if (child := os.fork()) == 0:
        counts.count({(7, "YES"): 3, (9, "NO"): 1})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    assert read(counts) == {("7", "YES"): 5, ("9", "NO"): 1}
    assert len(list(folder.iterdir())) == 2


def test_a_deleted_file_is_written_again(folder: Path) -> None:
    counts = made()
    counts.count({(7, "YES"): 2})
    [file] = folder.iterdir()
    file.unlink()
    assert read(counts) == {}

    counts.restore()
    counts.count({(7, "YES"): 1})

    assert read(counts) == {("7", "YES"): 3}


def test_a_damaged_file_costs_its_own_counts(folder: Path) -> None:
    counts = made()
    counts.count({(7, "YES"): 2})
    (folder / "coupon_test_total_1.hot").write_bytes(b"damaged")

    assert read(counts) == {("7", "YES"): 2}
