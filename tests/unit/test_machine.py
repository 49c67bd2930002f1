"""What is asked of the machine when the metrics are read."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from runtime.machine import Machine


def read(machine: Machine) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in machine.collect()
        for sample in family.samples
    }


def certificate(file: Path, *, ends: datetime) -> float:
    trustme.CA().issue_cert("localhost", not_after=ends).cert_chain_pems[0].write_to_path(file)
    return ends.replace(microsecond=0).timestamp()


def test_the_clock_and_the_disks_are_told(tmp_path: Path) -> None:
    before = time.time()
    found = read(Machine(folders={"logs": tmp_path, "gone": tmp_path / "gone"}, certificates={}))

    assert before <= found["coupon_clock_seconds",] <= time.time()
    assert 0 < found["coupon_disk_free_bytes", "logs"] <= found["coupon_disk_size_bytes", "logs"]
    assert ("coupon_disk_free_bytes", "temporary") in found
    assert ("coupon_disk_free_bytes", "gone") not in found


def test_the_first_end_of_a_files_certificates_is_told_and_a_new_file_is_read(tmp_path: Path) -> None:
    soon, later = datetime.now(UTC) + timedelta(days=3), datetime.now(UTC) + timedelta(days=300)
    file = tmp_path / "both.pem"
    machine = Machine(folders={}, certificates={"KAFKA_SSL_CA": file, "REDIS_SSL_CA": tmp_path / "gone"})
    certificate(tmp_path / "later.pem", ends=later)
    ends = certificate(file, ends=soon)
    file.write_bytes((tmp_path / "later.pem").read_bytes() + file.read_bytes())

    assert read(machine)["coupon_certificate_end_seconds", "KAFKA_SSL_CA"] == ends
    assert ("coupon_certificate_end_seconds", "REDIS_SSL_CA") not in read(machine)

    renewed = certificate(file, ends=later)
    os.utime(file, ns=(1, 1))
    assert read(machine)["coupon_certificate_end_seconds", "KAFKA_SSL_CA"] == renewed
