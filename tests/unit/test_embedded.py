"""The supervisor's rules, without any process: settings, ports, lock, signals, backlog, environment."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import dj_database_url
import pytest
from environs import EnvError

from dev.embedded import settings as embedded_settings
from dev.embedded.application import environment_for, has_user, secret_key
from dev.embedded.draining import undecided
from dev.embedded.settings import EmbeddedSettings
from dev.embedded.signals import ECHO_S, StopRequest
from dev.processes import PROJECT
from dev.servers import ServiceError, refuse_shared


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("COUPON_"):
            monkeypatch.delenv(name)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EmbeddedSettings]:
    """The settings of an environment in which these variables are set."""

    def load(**variables: str) -> EmbeddedSettings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return embedded_settings.load()

    return load


class TestSettings:
    def test_defaults(self) -> None:
        settings = embedded_settings.load()
        assert settings == EmbeddedSettings(
            directory=PROJECT / ".embedded",
            application_logs=PROJECT / "logs",
            api_host="127.0.0.1",
            api_port=8080,
            health_port=8081,
            redis_port=16379,
            kafka_port=19092,
            topic="coupon-issue-events",
            dead_letter_topic="coupon-issue-events.DLT",
            group_id="coupon-issue-consumer-group",
        )

    @pytest.mark.parametrize(
        "variable",
        ["COUPON_API_PORT", "COUPON_HEALTH_PORT", "COUPON_EMBEDDED_REDIS_PORT", "COUPON_EMBEDDED_KAFKA_PORT"],
    )
    def test_each_port_has_its_variable(self, variable: str, load: Callable[..., EmbeddedSettings]) -> None:
        settings = load(**{variable: "4711"})
        assert settings.ports[variable] == 4711
        assert list(settings.ports.values()).count(4711) == 1

    @pytest.mark.parametrize("value", ["", " ", "abc", "0", "-1", "65536", "80.5", "9" * 5000])
    def test_a_wrong_port_is_refused_by_its_variable(
        self, value: str, load: Callable[..., EmbeddedSettings]
    ) -> None:
        with pytest.raises(EnvError, match="COUPON_EMBEDDED_KAFKA_PORT"):
            load(COUPON_EMBEDDED_KAFKA_PORT=value)

    def test_two_services_on_one_port_are_refused_by_both_names(
        self, load: Callable[..., EmbeddedSettings]
    ) -> None:
        with pytest.raises(ServiceError, match="COUPON_API_PORT and COUPON_HEALTH_PORT are both 8081"):
            refuse_shared(load(COUPON_API_PORT="8081").ports)

    @pytest.mark.parametrize("variable", ["COUPON_EMBEDDED_DIR", "COUPON_LOG_DIR", "COUPON_TOPIC"])
    def test_an_empty_text_is_refused(self, variable: str, load: Callable[..., EmbeddedSettings]) -> None:
        with pytest.raises(EnvError, match=variable):
            load(**{variable: ""})

    def test_a_relative_directory_is_the_projects_and_an_absolute_one_stays(
        self, load: Callable[..., EmbeddedSettings]
    ) -> None:
        assert load(COUPON_EMBEDDED_DIR="other").directory == PROJECT / "other"
        assert load(COUPON_EMBEDDED_DIR="/srv/x").directory == Path("/srv/x")

    def test_a_wildcard_address_is_called_on_loopback(self, load: Callable[..., EmbeddedSettings]) -> None:
        assert load(COUPON_API_HOST="0.0.0.0").api_url == "http://127.0.0.1:8080"
        assert load(COUPON_API_HOST="10.1.2.3").api_url == "http://10.1.2.3:8080"


class TestStopRequest:
    def test_the_second_signal_stops_at_once_but_an_echo_of_the_first_does_not(self) -> None:
        now = [100.0]
        stop = StopRequest(clock=lambda: now[0])
        stop.note()
        now[0] += ECHO_S / 2
        stop.note()
        assert (stop.asked.is_set(), stop.at_once.is_set()) == (True, False)
        now[0] += ECHO_S
        stop.note()
        assert stop.at_once.is_set()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_it_hears_a_signal_and_gives_the_handler_back(self, number: signal.Signals) -> None:
        before = signal.signal(number, signal.SIG_DFL)  # these tests may themselves run under nohup
        try:
            stop = StopRequest()
            with stop.listening():
                signal.raise_signal(number)
            assert stop.asked.is_set()
            assert signal.getsignal(number) is signal.SIG_DFL
        finally:
            signal.signal(number, before)

    def test_nohup_stays_in_force(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            stop = StopRequest()
            with stop.listening():
                signal.raise_signal(signal.SIGHUP)
            assert not stop.asked.is_set()
        finally:
            signal.signal(signal.SIGHUP, before)


class TestBacklog:
    @pytest.mark.parametrize(
        ("decided", "left"),
        [
            ({0: 10, 1: 5}, 0),
            ({0: 7, 1: 5}, 3),
            ({0: 0, 1: 5}, 10),
            ({1: 5}, 10),
            ({0: 12, 1: 5}, 0),  # somebody produced and it was decided after the ends were read
            ({}, 15),
        ],
    )
    def test_undecided(self, decided: dict[int, int], left: int) -> None:
        assert undecided(ends={0: 10, 1: 5}, decided=decided) == left


class TestEnvironment:
    @pytest.fixture
    def settings(self, tmp_path: Path, load: Callable[..., EmbeddedSettings]) -> EmbeddedSettings:
        return load(COUPON_EMBEDDED_DIR=str(tmp_path), COUPON_API_PORT="4711")

    def test_an_exported_production_database_is_never_used(self, settings: EmbeddedSettings) -> None:
        environment = environment_for(
            settings=settings,
            servers={"REDIS_URL": "redis://127.0.0.1:1/0"},
            inherited={
                "DATABASE_URL": "mysql://production",
                "DATABASE_REPLICA_URL": "mysql://production",
                "REDIS_URL": "redis://production",
                "REDIS_URL_FILE": "/production",
                "KAFKA_SECURITY_PROTOCOL": "SSL",
                "LANG": "C",
            },
        )
        others = {"DATABASE_REPLICA_URL", "REDIS_URL_FILE", "KAFKA_SECURITY_PROTOCOL"}
        assert not others & environment.keys()
        assert environment["DATABASE_URL"].startswith("sqlite:")
        assert environment["REDIS_URL"] == "redis://127.0.0.1:1/0"
        assert environment["COUPON_API_PORT"] == "4711"
        assert environment["LANG"] == "C"

    @pytest.mark.parametrize("name", ["plain", "with space", "with%percent", "한글", "ques?tion", "ha#sh"])
    def test_the_database_is_found_in_any_directory(
        self, tmp_path: Path, name: str, load: Callable[..., EmbeddedSettings]
    ) -> None:
        (tmp_path / name).mkdir()
        settings = load(COUPON_EMBEDDED_DIR=str(tmp_path / name))
        url = environment_for(settings=settings, servers={}, inherited={})["DATABASE_URL"]
        assert dj_database_url.parse(url)["NAME"] == str(settings.database)
        assert unquote(url) == f"sqlite:///{settings.database}"

    def test_the_secret_key_is_made_once_and_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "secret_key"
        key = secret_key(path)
        assert len(key) >= 50
        assert secret_key(path) == key
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_secret_key_of_the_caller_wins(self, settings: EmbeddedSettings) -> None:
        environment = environment_for(settings=settings, servers={}, inherited={"SECRET_KEY": "mine"})
        assert environment["SECRET_KEY"] == "mine"

    def test_has_user(self, tmp_path: Path) -> None:
        database = tmp_path / "coupons.sqlite3"
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE auth_user (username TEXT)")
            connection.execute("INSERT INTO auth_user VALUES ('admin')")
        assert has_user(database=database, name="admin")
        assert not has_user(database=database, name="root")
