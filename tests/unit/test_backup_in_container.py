"""The dump by the client in Compose's container: what is called there, with which password."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from dev.processes import PROJECT

SCRIPT: Final = PROJECT / "deploy/backup/backup.py"
#: Stands in for docker: runs what the container is to run, with the container's environment.
DOCKER: Final = """#!/bin/sh
[ "$1 $2 $3 $4 $5" = "compose exec -T mysql sh" ] || exit 9
shift 4
MYSQL_PASSWORD=the-containers MYSQL_PWD= exec "$@"
"""
CLIENT: Final = '#!/bin/sh\necho "$0 $*"\necho "password $MYSQL_PWD"\necho "-- Dump completed on a day"\n'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in (("docker", DOCKER), ("mysqldump", CLIENT)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def dump(folder: Path, programs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "dump", str(folder), *words],
        env={"PATH": f"{programs}:{os.defpath}", "DATABASE_URL": "mysql://user:p%40ss@db.kr:3307/shop"},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_container_dumps_with_its_own_password(tmp_path: Path, programs: Path) -> None:
    done = dump(tmp_path, programs, "--in-container")

    assert done.returncode == 0, done.stderr
    [file] = tmp_path.glob("shop-*.sql.gz")
    text = gzip.decompress(file.read_bytes()).decode()
    assert "password the-containers" in text
    assert "--host=127.0.0.1 --user=user --single-transaction" in text
    assert text.splitlines()[0].endswith(" shop")


def test_without_it_the_machines_client_connects_to_the_url(tmp_path: Path, programs: Path) -> None:
    (programs / "mariadb-dump").write_text(CLIENT)
    (programs / "mariadb-dump").chmod(0o755)

    assert dump(tmp_path, programs).returncode == 0

    [file] = tmp_path.glob("*.sql.gz")
    text = gzip.decompress(file.read_bytes()).decode()
    assert "mariadb-dump --host=db.kr --port=3307 --protocol=tcp --user=user" in text
    assert "password p@ss" in text


def test_a_dump_that_does_not_end_as_one_is_not_kept(tmp_path: Path, programs: Path) -> None:
    (programs / "mysqldump").write_text("#!/bin/sh\necho CREATE TABLE\n")

    done = dump(tmp_path, programs, "--in-container")

    assert done.returncode == 1
    assert "not whole" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["programs"]
