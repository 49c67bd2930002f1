"""The servers' programs: found, or installed where we may, or asked for in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.servers import ServiceError

#: Looked through before the search path, where an active virtual environment puts its own programs first:
#: the redis-server that a wheel brings for the embedded stack is not the machine's.
SYSTEM_FOLDERS = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/usr/libexec",
    "/opt/homebrew/bin",
)
JAVA_AT_LEAST = 17
JAVA_PACKAGES = ("openjdk-21-jre-headless", "openjdk-17-jre-headless", "openjdk-25-jre-headless")
POLICY = Path("/usr/sbin/policy-rc.d")
APT_TIMEOUT_S = 900
APT_PATIENCE = ("-o", "DPkg::Lock::Timeout=120")  #: another apt may be at work


def find(names: Sequence[str]) -> Path | None:
    """The first of these programs that is there, the machine's own before any other."""
    return next(find_all(names), None)


def find_all(names: Sequence[str]) -> Iterator[Path]:
    folders = [*SYSTEM_FOLDERS, *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    for name in names:
        for folder in dict.fromkeys(folders):
            if found := shutil.which(name, path=folder):
                yield Path(found)


def require(names: Sequence[str], *, packages: Sequence[str]) -> Path:
    """The first of these programs; when none is there, a package is installed that brings one."""
    return _require(lambda: find(names), packages=packages, missing=" or ".join(names))


def require_java() -> Path:
    """A Java that Kafka 4 runs on: JAVA_HOME's before the search path's."""
    return _require(_fitting_java, packages=JAVA_PACKAGES, missing=f"Java {JAVA_AT_LEAST} or newer")


def _require(look: Callable[[], Path | None], *, packages: Sequence[str], missing: str) -> Path:
    found = look()
    if found is None:
        _install(packages, missing=missing)
        found = look()
    if found is None:
        raise ServiceError(f"{packages[0]} was installed but brought no {missing}: install one by hand")
    return found


def _fitting_java() -> Path | None:
    candidates = [Path(home) / "bin/java"] if (home := os.environ.get("JAVA_HOME")) else []
    candidates += find_all(["java"])
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    for java in candidates:
        if java.is_file() and java_version(version_text(java, "-version")) >= JAVA_AT_LEAST:
            return java
    return None


def java_version(text: str) -> int:
    """The feature release in the answer to ``java -version``: 17 for "17.0.15", 8 for "1.8.0_402"; else 0."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else 0


def version_text(program: Path, option: str = "--version") -> str:
    return output_of([str(program), option])


def output_of(command: Sequence[str]) -> str:
    """All that a program says that ends by itself at once, whatever its exit status."""
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return shown.stdout + shown.stderr


def inherited_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a server inherits: ours, without another server's leftovers."""
    ours = {key: value for key, value in os.environ.items() if key not in ("MYSQL_PWD", "NOTIFY_SOCKET")}
    return ours | dict(more or {})


def _install(packages: Sequence[str], *, missing: str) -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        line = f"sudo apt-get install {packages[0]}" if apt else f"the package {packages[0]} or its like"
        raise ServiceError(f"{missing} is missing: install it with {line}, then run this again")
    print(f"{missing} is missing: installing it with apt-get", file=sys.stderr, flush=True)
    with no_service_started():
        run_to_end([apt, *APT_PATIENCE, "update"])
        package = next((name for name in packages if are_available([name])), packages[0])
        run_to_end([apt, *APT_PATIENCE, "install", "--yes", "--no-install-recommends", package])


def are_available(packages: Sequence[str], options: Sequence[str] = ()) -> bool:
    shown = output_of(["apt-cache", *options, "policy", *packages])
    return shown.count("Candidate:") == len(packages) and "Candidate: (none)" not in shown


def run_to_end(command: Sequence[str]) -> None:
    """Of apt and its like. Raises ServiceError with the last that it said."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    ended = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=APT_TIMEOUT_S,
    )  # fmt: skip
    if ended.returncode != 0:
        told = "\n".join(f"  {line}" for line in (ended.stdout + ended.stderr).splitlines()[-12:])
        raise ServiceError(f"`{' '.join(command)}` failed; install the package by hand. It said:\n{told}")


@contextmanager
def no_service_started() -> Iterator[None]:
    """Keep Debian from starting a system-wide server beside ours; a policy that is there stays."""
    if POLICY.exists() or not POLICY.parent.is_dir():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
