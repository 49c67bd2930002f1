"""The drill: a dump of a busy system is restored into an empty database, and nothing is wrong there.

What was decided after the dump is decided again, from the log, with the same winners.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from django_redis import get_redis_connection

from coupons.models import IssueOutcome, LogPosition
from dev.processes import PROJECT
from tests.factories import make_coupon, make_users
from tests.own_database import own_database
from tests.system import System

pytestmark = [pytest.mark.services_only, pytest.mark.django_db(transaction=True)]

SCRIPT: Final = PROJECT / "deploy/backup/backup.py"


def backup(*words: object, url: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        env={**os.environ, "DATABASE_URL": url, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def dumped(folder: Path) -> Path:
    """A dump of the tests' database."""
    done = backup("dump", folder, url=os.environ["DATABASE_URL"])
    assert done.returncode == 0, done.stderr
    [file] = folder.glob("*.sql.gz")
    return file


def winners() -> dict[int, int]:
    """Rank by user, as the database that this process works on has it."""
    issued = IssueOutcome.objects.filter(status="ISSUED").values_list("user_id", "claim_rank")
    return {user or 0: rank or 0 for user, rank in issued}


def test_the_drill(transactional_db: None, topic: str, tmp_path: Path) -> None:
    coupon, users = make_coupon(stock=30), make_users(60)
    with System(topic=topic) as system:
        early = system.claim_all(coupon.pk, users[:20])
        system.wait_decided([answer.body["requestId"] for answer in early.values()])
        file = dumped(tmp_path)
        late = system.claim_all(coupon.pk, users[20:])
        accepted = [answer.body["requestId"] for answer in late.values() if answer.status == 202]
        system.wait_decided(accepted)
    won = winners()
    assert len(won) == 30

    with own_database(migrated=False) as url:
        done = backup("restore", file, url=url)
        assert done.returncode == 0, done.stderr
        get_redis_connection("default").flushdb()
        forgot = set(accepted) - set(map(str, IssueOutcome.objects.values_list("pk", flat=True)))
        assert len(forgot) == len(accepted) > 0
        system.lead_to({"DATABASE_URL": url})
        system.api, system.consumers = system.new_api(), [system.new_consumer()]
        with system as restored:
            assert restored.manage("migrate", "--check").returncode == 0
            assert '"state": "OK"' in restored.manage("log_position", "show", "--json").stdout
            restored.wait_decided(accepted)
            told = restored.manage("verify", "--from-topic", "--json")
            assert json.loads(told.stdout)["findings"] == []
            assert told.returncode == 0, told.stdout
        assert winners() == won
        assert LogPosition.objects.filter(topic=topic).exists()


def test_a_database_that_has_tables_is_not_overwritten(transactional_db: None, tmp_path: Path) -> None:
    coupon = make_coupon(stock=7)
    file = dumped(tmp_path)

    done = backup("restore", file, url=os.environ["DATABASE_URL"])

    assert done.returncode == 1
    assert "name an empty one" in done.stderr
    coupon.refresh_from_db()
    assert coupon.stock == 7


def test_a_dump_that_was_cut_is_refused_before_anything_is_loaded(
    transactional_db: None, tmp_path: Path
) -> None:
    file = dumped(tmp_path)
    text = gzip.decompress(file.read_bytes())
    (tmp_path / "cut.gz").write_bytes(file.read_bytes()[:-100])
    (tmp_path / "short.sql.gz").write_bytes(gzip.compress(text[: len(text) // 2]))

    with own_database(migrated=False) as url:
        for name, why in (("cut.gz", "cannot be read whole"), ("short.sql.gz", "no whole dump")):
            done = backup("restore", tmp_path / name, url=url)
            assert done.returncode == 1
            assert why in done.stderr
        assert backup("restore", file, url=url).returncode == 0, "nothing was loaded before"


def test_no_secret_is_in_the_settings_and_none_on_a_command_line(
    transactional_db: None, tmp_path: Path
) -> None:
    done = backup(
        "dump",
        tmp_path,
        url=os.environ["DATABASE_URL"],
        COUPON_IDENTITY_SECRET="hidden-one",
        REDIS_URL="redis://:hidden-two@127.0.0.1:1/0",
        KAFKA_CLIENT_CONFIG="sasl.password=hidden-three",
        COUPON_TOPIC="a-topic",
        KAFKA_SASL_PASSWORD_FILE="/run/secrets/kafka",
    )

    [file] = tmp_path.glob("*.settings")
    text = file.read_text()
    assert "hidden" not in text + done.stdout + done.stderr
    assert "COUPON_TOPIC=a-topic" in text
    assert "#COUPON_IDENTITY_SECRET=(secret)" in text
    assert "KAFKA_SASL_PASSWORD_FILE=/run/secrets/kafka" in text


def test_a_database_that_is_away_leaves_no_dump(tmp_path: Path) -> None:
    done = backup("dump", tmp_path, url="mysql://nobody:wrong@127.0.0.1:1/nothing")

    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []
