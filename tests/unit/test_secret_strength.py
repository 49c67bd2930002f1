"""The API starts with no secret that can be guessed or looked up."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from dev.processes import PROJECT
from runtime import config
from runtime.config import Config, ConfigError
from runtime.config.language import Language
from runtime.operator_language import say, spoken
from runtime.secret_strength import SHORTEST_IDENTITY_SECRET, SHORTEST_SECRET_KEY, refuse_weak

STRONG = "0123456789abcdef" * 4


def configured(*, secret_key: str = STRONG, identity_secret: str = "", debug: bool = False) -> Config:
    loaded = config.load()
    return replace(
        loaded,
        site=replace(loaded.site, secret_key=secret_key, debug=debug),
        identity=replace(loaded.identity, secret=identity_secret),
    )


@pytest.mark.parametrize(
    "weak",
    [
        "x",
        STRONG[: SHORTEST_SECRET_KEY - 1],
        "ab" * SHORTEST_SECRET_KEY,
        "only-for-development-and-known-to-everybody-and-long-enough",
        "django-insecure-0123456789abcdef0123456789abcdef0123456789abcdef",
    ],
)
def test_a_weak_secret_key_is_refused_by_name_with_the_mend(weak: str) -> None:
    with pytest.raises(ConfigError, match=r"^SECRET_KEY .*openssl rand -hex 32") as refused:
        refuse_weak(configured(secret_key=weak))

    assert weak not in str(refused.value) or weak == "x"


def test_a_weak_identity_secret_is_refused_and_none_is_none() -> None:
    refuse_weak(configured(identity_secret=""))
    refuse_weak(configured(identity_secret=STRONG[:SHORTEST_IDENTITY_SECRET]))

    for weak in ("s", STRONG[: SHORTEST_IDENTITY_SECRET - 1], "changeme" * 8):
        with pytest.raises(ConfigError, match=r"^COUPON_IDENTITY_SECRET"):
            refuse_weak(configured(identity_secret=weak))


def test_the_refusal_and_its_mend_are_korean_where_they_are_said() -> None:
    with pytest.raises(ConfigError) as refused:
        refuse_weak(configured(secret_key="x"))
    with spoken(Language.KOREAN):
        assert say(refused.value) == (
            "SECRET_KEY이(가) 1자입니다. 50자보다 짧으면 알아맞힐 수 있습니다. "
            '긴 무작위 텍스트로 설정하세요. 예: "$(openssl rand -hex 32)"'
        )


def test_a_development_machine_may_have_any() -> None:
    refuse_weak(configured(secret_key="x", identity_secret="s", debug=True))


@pytest.mark.parametrize("name", ["SECRET_KEY", "COUPON_IDENTITY_SECRET"])
def test_gunicorn_ends_with_that_one_line(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"],
        cwd=PROJECT,
        env={**os.environ, name: "weak"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"settings: {name} ")
