"""The Helm chart says what the application knows; with helm, what it makes of its values."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.processes import PROJECT
from runtime import __version__, config
from tests.unit.test_compose import example
from tests.unit.test_config import VARIABLES

CHART = PROJECT / "deploy/helm/coupon-system"
PRODUCTION = ("--values", str(CHART / "values-production.yaml"))
_BUILT = PROJECT / ".venv/chart/bin/helm"
_HELM = os.environ.get("HELM") or shutil.which("helm") or (str(_BUILT) if _BUILT.exists() else None)
with_helm = pytest.mark.skipif(_HELM is None, reason="helm is not here (`make chart` builds it where Go is)")
#: Read by the application from these alone, and each may stand in a file.
SECRET = re.compile(
    r"^(SECRET_KEY|COUPON_IDENTITY_SECRET|COUPON_OFFICE_KEYS|\w+_URL|\w+_PASSWORD|\w+_CLIENT_SECRET)$"
)


def helm(*options: str) -> subprocess.CompletedProcess[str]:
    command = [str(_HELM), "template", "coupon-system", str(CHART), "--namespace", "coupons", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@cache
def rendered(*options: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The chart's objects, by kind and name."""
    done = helm(*options)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def pods(*options: str) -> list[dict[str, Any]]:
    specs = [each.get("spec", {}) for each in rendered(*options).values()]
    bare = [spec for spec in specs if "containers" in spec]
    return bare + [spec["template"]["spec"] for spec in specs if "template" in spec]


def environment(pod: dict[str, Any]) -> dict[str, str | None]:
    [container] = pod["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)), "a variable is set twice"
    return {each["name"]: each.get("value") for each in container["env"]}


def schema() -> dict[str, Any]:
    properties: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())["properties"]
    return properties


def test_the_chart_is_of_this_version() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_each_secret_setting_comes_from_a_secret_alone() -> None:
    taken = set(schema()["secrets"]["properties"])
    kept_out = set(schema()["config"]["propertyNames"]["not"]["enum"])
    secret = {name for name in VARIABLES if SECRET.match(name) and not name.endswith("TOKEN_URL")}

    assert secret - taken == set()
    assert taken - kept_out == set()


def test_every_other_setting_can_be_given() -> None:
    """In `config`, unless the chart has a value of its own for it or sets it itself."""
    rule = schema()["config"]["propertyNames"]
    own = set(rule["not"]["enum"])
    templates = "".join(file.read_text() for file in (CHART / "templates").glob("*.*"))
    fixed = {"COUPON_API_HOST", "COUPON_API_PORT", "COUPON_HEALTH_PORT", "COUPON_LOG_DIR"}  # the image's

    for name in VARIABLES:
        if name in own:
            assert name in templates or name in fixed or SECRET.match(name), name
        else:
            assert re.match(rule["pattern"], name), name


@with_helm
@pytest.mark.parametrize("options", [(), PRODUCTION], ids=["default", "production"])
class TestBothValues:
    def test_the_application_knows_what_it_is_told(self, options: tuple[str, ...]) -> None:
        known = set(VARIABLES) | set(example())
        for pod in pods(*options):
            told = {name.removesuffix("_FILE") for name in environment(pod)}
            assert told - known == set()

    def test_the_application_takes_it(
        self, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_KEY", "for-tests")
        for pod in pods(*options):
            for name, value in environment(pod).items():
                if name in VARIABLES and value is not None and "_SSL_" not in name and "_SASL_" not in name:
                    stood = {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "COUPON_TICKET_KEYS": __file__}
                    monkeypatch.setenv(name, stood.get(name, value))
            monkeypatch.delenv("DATABASE_SSL_MODE", raising=False)
            config.load()

    def test_no_pod_may_more_than_it_must(self, options: tuple[str, ...]) -> None:
        for pod in pods(*options):
            assert pod["securityContext"]["runAsNonRoot"]
            assert not pod["automountServiceAccountToken"]
            assert not pod["enableServiceLinks"]
            [container] = pod["containers"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"/tmp", "/app/logs"} <= {mount["mountPath"] for mount in container["volumeMounts"]}

    def test_no_secret_stands_in_an_object(self, options: tuple[str, ...]) -> None:
        for pod in pods(*options):
            assert {name for name in environment(pod) if SECRET.match(name)} == set()

    def test_health_is_asked_on_the_port_that_has_it(self, options: tuple[str, ...]) -> None:
        objects = rendered(*options)
        for kind, role, port in [("Deployment", "api", 8082), ("StatefulSet", "consumer", 8081)]:
            [container] = objects[kind, f"coupon-system-{role}"]["spec"]["template"]["spec"]["containers"]
            ports = {each["name"]: each["containerPort"] for each in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container[probe]["httpGet"]
                assert ports[asked["port"]] == port
                assert asked["path"].startswith("/actuator/health/")

    def test_an_ending_pod_has_time_for_the_longest_claim(self, options: tuple[str, ...]) -> None:
        pod = rendered(*options)["Deployment", "coupon-system-api"]["spec"]["template"]["spec"]
        [_, drain_s] = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        longest_s = 42  # gunicorn's graceful timeout where all waits are set to their longest

        assert pod["terminationGracePeriodSeconds"] > int(drain_s) + longest_s

    def test_the_jobs_come_before_and_in_order(self, options: tuple[str, ...]) -> None:
        objects = rendered(*options)
        weights = {}
        for (kind, name), each in objects.items():
            hook = each["metadata"].get("annotations", {})
            if hook.get("helm.sh/hook", "test") != "test":
                assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"
                weights[kind, name] = int(hook["helm.sh/hook-weight"])

        assert [name for _, name in sorted(weights, key=weights.__getitem__)] == [
            "coupon-system-egress",
            "coupon-system-migrate",
            "coupon-system-topics",
        ]


@with_helm
@pytest.mark.parametrize(("options", "apis", "consumers"), [((), 10, 1), (PRODUCTION, 30, 12)])
def test_helms_test_is_the_preflight_of_all_pods(options: tuple[str, ...], apis: int, consumers: int) -> None:
    objects = rendered(*options)
    test = objects["Pod", "coupon-system-preflight"]
    pod = test["spec"]
    of_api = objects["Deployment", "coupon-system-api"]["spec"]["template"]["spec"]

    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["containers"][0]["command"] == [
        *("python", "manage.py", "preflight", "--red-only"),
        *("--users=100000", f"--apis={apis}", f"--consumers={consumers}"),
    ]
    assert environment(pod) == environment(of_api)


@with_helm
def test_consumers_scale_on_lag_up_to_the_partitions_and_before_openings() -> None:
    scaled = rendered(*PRODUCTION)["ScaledObject", "coupon-system-consumer"]["spec"]
    lag, opening = scaled["triggers"]

    assert scaled["scaleTargetRef"]["kind"] == "StatefulSet"
    assert scaled["maxReplicaCount"] == 12
    assert lag["metadata"]["offsetResetPolicy"] == "earliest"
    assert lag["metadata"]["allowIdleConsumers"] == "false"
    assert lag["metadata"]["version"] == "2.1.0"  # beside what the example adds
    assert lag["metadata"]["sasl"] == "scram_sha512"
    assert (opening["type"], opening["metadata"]["desiredReplicas"]) == ("cron", "12")


@with_helm
def test_a_consumer_is_the_same_member_after_a_restart() -> None:
    pod = rendered()["StatefulSet", "coupon-system-consumer"]["spec"]["template"]["spec"]
    [member] = [each for each in pod["containers"][0]["env"] if each["name"] == "KAFKA_GROUP_INSTANCE_ID"]

    assert member["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@with_helm
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("config.SECRET_KEY=x", "SECRET_KEY"),
        ("config.REDIS_URL=redis://:secret@h", "REDIS_URL"),
        ("config.COUPON_TOPIC=t", "COUPON_TOPIC"),
        ("config.PATH=/", "PATH"),
        ("api.replica=3", "replica"),
        ("kafka.bootstrapServers=kafka", "bootstrapServers"),
        ("image.digest=latest", "digest"),
        ("openings[0].start=9:00", "openings"),
    ],
)
def test_a_wrong_value_is_refused_by_name(given: str, named: str) -> None:
    done = helm("--set-string", given)

    assert done.returncode != 0
    assert named in done.stderr


@with_helm
def test_more_consumers_than_partitions_are_refused() -> None:
    done = helm("--set", "consumer.autoscaling.enabled=true,consumer.autoscaling.maxReplicas=4")

    assert done.returncode != 0
    assert "kafka.partitions" in done.stderr


def test_what_the_example_names_is_there() -> None:
    """The files that certificates are mounted as are those that the settings name."""
    values = yaml.safe_load((CHART / "values-production.yaml").read_text())
    folders = {f"/etc/coupon-system/{each['name']}" for each in values["certificates"]}

    for name, value in values["config"].items():
        if value.startswith("/"):
            assert str(Path(value).parent) in folders, name


@with_helm
def test_the_alerts_come_with_the_service_monitor_and_know_its_jobs() -> None:
    objects = rendered("--set", "serviceMonitor.enabled=true")
    [monitor] = [each for (kind, _), each in objects.items() if kind == "ServiceMonitor"]
    rules = [each for (kind, _), each in objects.items() if kind == "PrometheusRule"]
    alerts = {
        rule["alert"]: rule["expr"]
        for each in rules
        for group in each["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    components = {
        each["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        for (kind, _), each in objects.items()
        if kind == "Service" and each["metadata"]["labels"].get("coupon-system/metrics") == "true"
    }

    [relabeling] = monitor["spec"]["endpoints"][0]["relabelings"]
    jobs = {relabeling["replacement"].replace("$1", component) for component in components}
    assert jobs == {"coupon-api", "coupon-consumer"}
    assert all(f'up{{job="{job}"}}' in alerts["CouponTargetDown"] for job in jobs)
    assert "CouponGateAway" in alerts
    assert not [kind for kind, _ in rendered() if kind == "PrometheusRule"]
