"""The samples of docs/integrate.md: what the page shows are the files, and each does what it says.

A language that is not here is skipped, and the run says which and what it lacks. A sample that does not
compile or answers something else fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dev.processes import PROJECT
from tests.factories import make_coupon, make_users
from tests.system import Process, System
from tests.tickets import private_key, public_pem

SAMPLES = PROJECT / "docs/samples"
LANGUAGES = {"python": "claim.py", "kotlin": "Claim.kt", "javascript": "claim.mjs"}
#: Kotlin's compiler, copied once; `make clean` takes it away.
COMPILER = PROJECT / ".venv/kotlin"
_FETCH_S, _COMPILE_S, _RUN_S = 300, 180, 60


def programs(*names: str) -> list[str]:
    found = [shutil.which(name) for name in names]
    if missing := [name for name, path in zip(names, found, strict=True) if path is None]:
        pytest.skip(f"NOT RUN, because this machine has no {', '.join(missing)}")
    return [path for path in found if path]


def python(folder: Path) -> list[str]:
    return [sys.executable, str(SAMPLES / "claim.py")]


def javascript(folder: Path) -> list[str]:
    [node] = programs("node")
    return [node, str(SAMPLES / "claim.mjs")]


def kotlin(folder: Path) -> list[str]:
    java, maven = programs("java", "mvn")
    pom = PROJECT / "tests/samples/pom.xml"
    if not any(COMPILER.glob("kotlin-compiler-*.jar")):
        words = ["--batch-mode", "--quiet", "--file", str(pom), "dependency:copy-dependencies"]
        fetched = subprocess.run(
            [maven, *words, f"-DoutputDirectory={COMPILER}"], capture_output=True, text=True, timeout=_FETCH_S
        )
        if fetched.returncode != 0:
            pytest.skip(f"NOT RUN, because Maven did not get Kotlin's compiler: {fetched.stdout[-300:]}")
    jars = os.pathsep.join(map(str, COMPILER.glob("*.jar")))
    options = ["-no-reflect", "-no-stdlib", "-classpath", jars, "-d", str(folder)]
    compiled = subprocess.run(
        [
            java,
            "-cp",
            jars,
            "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
            *options,
            str(SAMPLES / "Claim.kt"),
        ],
        capture_output=True,
        text=True,
        timeout=_COMPILE_S,
    )
    assert compiled.returncode == 0, compiled.stderr
    return [java, "-cp", os.pathsep.join([str(folder), jars]), "ClaimKt"]


COMMANDS = {"python": python, "kotlin": kotlin, "javascript": javascript}


@pytest.fixture(scope="module")
def shop(running: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path]]:
    """An API as the page sets it up, and the file of the shop's private key."""
    folder: Path = tmp_path_factory.mktemp("shop")
    key = private_key("RS256")
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "shop.pem").write_bytes(key.private_bytes(*form))
    (folder / "shop-public.pem").write_text(public_pem(key))
    api = running.new_api(
        COUPON_TICKET_KEYS=str(folder / "shop-public.pem"),
        COUPON_TICKET_ISSUER="https://login.example.com",
        COUPON_TICKET_AUDIENCE="coupons",
    )
    api.start().wait_ready()
    yield api, folder / "shop.pem"
    api.kill()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sample_claims_and_tells_the_result(
    language: str, shop: tuple[Process, Path], tmp_path: Path
) -> None:
    api, key = shop
    command = COMMANDS[language](tmp_path)
    coupon, users = make_coupon(stock=1), make_users(2)
    environment = {**os.environ, "COUPONS": f"http://127.0.0.1:{api.port}", "SHOP_KEY": str(key)}

    def told(user: int) -> str:
        done = subprocess.run(
            [*command, str(user), str(coupon.pk)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert re.fullmatch(r"ISSUED \d+", told(users[0]))
    assert told(users[0]) == "ALREADY_REQUESTED"
    assert told(users[1]) == "OUT_OF_STOCK"


@pytest.mark.parametrize("page", ["integrate.md", "integrate.ko.md"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_shows_the_file(page: str, language: str) -> None:
    text = (PROJECT / "docs" / page).read_text()

    [shown] = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert shown == (SAMPLES / LANGUAGES[language]).read_text()
