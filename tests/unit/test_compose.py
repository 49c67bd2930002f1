"""Compose: every setting can be set in .env and reaches the containers; a second project finds room."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.processes import PROJECT
from runtime import config
from runtime.config import ConfigError
from runtime.secret_strength import refuse_weak
from tests.unit.test_config import SECRETS, VARIABLES

COMPOSE = PROJECT / "docker-compose.yml"
ADDED = [PROJECT / "deploy/compose/nginx.yml", PROJECT / "deploy/compose/three-brokers.yml"]
#: Compose's own servers, and what is another in a container.
OTHER_DEFAULTS = {
    "ALLOWED_HOSTS",
    "COUPON_API_HOST",
    "COUPON_LOG_DIR",
    "DATABASE_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
    "REDIS_URL",
}
#: One name for all containers would make them one member of the group.
NOT_SHARED = {"KAFKA_GROUP_INSTANCE_ID"}
IN_FILES = {name for name in SECRETS if name != "SECRET_KEY"}  #: may stand in a file
SETTINGS = sorted(set(VARIABLES) - NOT_SHARED)
_TOOL = shutil.which("docker-compose")
_ENTRY = re.compile(r"((?:^# .*\n)+)((?:^#[A-Z0-9_]+=.*\n)+)", re.MULTILINE)


def example() -> dict[str, str]:
    """Name to default in .env.example; each stands below a sentence."""
    text = (PROJECT / ".env.example").read_text()
    lines = [line for _, block in _ENTRY.findall(text) for line in block.splitlines()]
    assert len(lines) == len(re.findall(r"^#[A-Z]", text, re.MULTILINE)), "one has no sentence"
    return dict(line[1:].split("=", 1) for line in lines)


def containers(*files: Path) -> dict[str, Any]:
    """The services as the files give them, before anything is put in."""
    services: dict[str, Any] = {}
    for file in files:
        services |= yaml.safe_load(file.read_text())["services"]
    return services


def composed(folder: Path, *files: Path, dotenv: str = "", **shell: str) -> dict[str, Any]:
    """What `docker-compose config` makes of the files, with this .env and shell."""
    if _TOOL is None:
        pytest.skip("docker-compose is not here (Debian: apt-get install docker-compose)")
    (folder / ".env").write_text(dotenv)
    named = [word for file in files for word in ("-f", str(file))]
    done = subprocess.run(
        [_TOOL, "--project-directory", str(PROJECT), "--env-file", str(folder / ".env"), *named, "config"],
        env={"PATH": os.environ["PATH"], **shell},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return made


def test_every_setting_is_in_the_example_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    told = example()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRET_KEY", "for-tests")
    defaults = config.load()

    assert set(SETTINGS) - set(told) == set()
    for name in set(SETTINGS) - OTHER_DEFAULTS:
        if told[name]:
            monkeypatch.setenv(name, told[name])
    assert config.load() == defaults


@pytest.mark.parametrize("name", sorted(OTHER_DEFAULTS))
def test_a_default_of_compose_is_the_one_in_the_example(name: str) -> None:
    colon = "" if name in IN_FILES else ":"  # empty means that it stands in a file
    assert f"${{{name}{colon}-{example()[name]}}}" in COMPOSE.read_text()


def test_every_variable_of_the_files_is_in_the_example_with_its_default() -> None:
    told = example()
    text = "".join(file.read_text() for file in [COMPOSE, *ADDED])
    differing = {"COUPON_BEHIND_HTTPS", "COUPON_API_OPERATIONS_PORT"}  # nginx.yml's, behind a proxy
    for name, default in re.findall(r"(?<!\$)\$\{([A-Z0-9_]+):-([^}]*)\}", text):
        assert name in differing or told[name] == default, name


@pytest.mark.parametrize("service", ["api", "consumer", "migrate", "topics"])
def test_every_setting_reaches_the_container(service: str) -> None:
    given = containers(COMPOSE)[service]["environment"]

    assert {name for name in SETTINGS if name not in given} == {"SECRET_KEY"}
    assert given["SECRET_KEY_FILE"] == "/run/coupon-system/SECRET_KEY"
    assert containers(COMPOSE)["secrets"]["environment"] == {"SECRET_KEY": None}
    for name in set(SETTINGS) - {"SECRET_KEY"}:
        assert given[name] is None or re.match(rf"\$\{{{name}:?-", given[name]), name
    assert {name for name in IN_FILES if given.get(f"{name}_FILE", "") is not None} == set()


@pytest.mark.parametrize("by", ["dotenv", "shell"])
def test_compose_itself_hands_them_on(tmp_path: Path, by: str) -> None:
    values = {name: f"set-{number}" for number, name in enumerate(SETTINGS)}
    values |= {"COUPON_API_PORT": "8180", "COUPON_HEALTH_PORT": "8181"}  # they are ports of containers too
    dotenv = "".join(f"{name}={value}\n" for name, value in values.items())
    services = (
        composed(tmp_path, COMPOSE, dotenv=dotenv)
        if by == "dotenv"
        else composed(tmp_path, COMPOSE, **values)
    )

    secret_key = values.pop("SECRET_KEY")
    for service in ("api", "consumer", "migrate", "topics"):
        given = services[service]["environment"]
        assert {name: given.get(name) for name in values} == values
    assert services["secrets"]["environment"]["SECRET_KEY"] == secret_key


def test_secrets_stand_in_files(tmp_path: Path) -> None:
    """Whatever reaches the application must not be silently off: an identity secret, above all."""
    files = {f"{name}_FILE": f"/etc/coupon-system/{name}" for name in IN_FILES}
    dotenv = "".join(f"{name}={path}\n" for name, path in files.items()) + "DATABASE_URL=\nREDIS_URL=\n"
    told = example()
    services = composed(tmp_path, COMPOSE, dotenv=dotenv)

    assert set(files) <= set(told)
    for service in ("api", "consumer", "migrate", "topics"):
        given = services[service]["environment"]
        assert {name: given.get(name) for name in files} == files
        assert not given["DATABASE_URL"]
        assert not given["REDIS_URL"]


def test_a_setting_that_is_nowhere_set_is_not_set_to_nothing(tmp_path: Path) -> None:
    given = composed(tmp_path, COMPOSE)["api"]["environment"]

    assert {name for name in SETTINGS if given.get(name) == ""} == set()


def test_every_port_can_be_another(tmp_path: Path) -> None:
    names = sorted(name for name in example() if name.startswith("PORT_"))
    ports = {name: str(20_000 + number) for number, name in enumerate(names)}
    services = composed(tmp_path, COMPOSE, *ADDED, **ports)

    published = " ".join(str(port) for service in services.values() for port in service.get("ports", []))
    assert {name for name, port in ports.items() if port not in published} == set()
    for service in services.values():
        for port in service.get("ports", []):
            assert re.search(r"\b2\d{4}\b", str(port)), port
    listeners = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert listeners.endswith(f"localhost:{ports['PORT_KAFKA']}")


def test_a_second_project_is_in_nobodys_way() -> None:
    for file in [COMPOSE, *ADDED]:
        assert "container_name" not in file.read_text()


def test_images_are_pinned_by_version() -> None:
    text = "".join(file.read_text() for file in [COMPOSE, *ADDED, PROJECT / "Dockerfile"])
    images = re.findall(r"(?:image: |PYTHON_IMAGE=)(\S+)", text)

    assert len(images) > 6
    for image in images:
        assert image == "coupon-system" or re.search(r":v?\d+\.\d+\.\d+", image), image


def test_three_brokers_keep_three_copies(tmp_path: Path) -> None:
    services = composed(tmp_path, COMPOSE, ADDED[1])

    brokers = [services[name] for name in ("kafka", "kafka-2", "kafka-3")]
    assert sorted(int(each["environment"]["KAFKA_NODE_ID"]) for each in brokers) == [1, 2, 3]
    assert len({each["environment"]["KAFKA_CONTROLLER_QUORUM_VOTERS"] for each in brokers}) == 1
    assert len({str(each["volumes"]) for each in brokers}) == 3
    for role in ("api", "consumer", "topics"):
        assert services[role]["environment"]["KAFKA_BOOTSTRAP_SERVERS"].count(",") == 2
        assert int(services[role]["environment"]["COUPON_TOPIC_REPLICATION_FACTOR"]) == 3


@pytest.mark.parametrize(
    "file", ["docker-compose.yml", ".env.example", "deploy/helm/coupon-system/values.yaml"]
)
def test_no_file_that_people_copy_has_a_secret_that_would_be_taken(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = re.compile(r"\b(SECRET_KEY|COUPON_IDENTITY_SECRET)(?:=|: +)(?:\$\{\w+:-)?([^\s{}]+)")
    for name, value in given.findall((PROJECT / file).read_text()):
        monkeypatch.setenv("SECRET_KEY", "0123456789abcdef" * 4)
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError):
            refuse_weak(config.load())
