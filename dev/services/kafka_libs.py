"""Kafka's jars, fetched once with Maven along ``pom.xml``."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from dev.services import programs
from dev.services.service import Service
from dev.services.stack import replace_text

FOLDER = "kafka-libs"
POM = Path(__file__).with_name("pom.xml")
MARKER = ".complete"  #: holds the digest of the pom.xml that the jars were fetched along
FETCH_TIMEOUT_S = 900.0


def provide(kafka: Service) -> None:
    """Have the jars in the stack's folder. An interrupted or outdated download is done again."""
    directory = kafka.stack.directory
    libs = directory / FOLDER
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()
    marker = libs / MARKER
    if marker.exists() and marker.read_text().strip() == digest:
        return
    maven = programs.require(["mvn"], packages=["maven"])
    shutil.rmtree(libs, ignore_errors=True)
    libs.mkdir(parents=True)
    command = [
        str(maven), "--batch-mode", "--no-transfer-progress", "--file", str(POM),
        "dependency:copy-dependencies", f"-DoutputDirectory={libs}",
    ]  # fmt: skip
    log = kafka.stack.log_dir / "kafka-libs.log"
    log.unlink(missing_ok=True)
    kafka.process(command, folder=directory, log=log).run(
        within_s=FETCH_TIMEOUT_S,
        failing="Kafka's jars could not be fetched: see whether Maven reaches its repository, and try again",
    )
    replace_text(marker, f"{digest}\n")


def version(libs: Path) -> str:
    for jar in libs.glob("kafka_*.jar"):
        if found := re.fullmatch(r"kafka_[\d.]+-([\d.]+)\.jar", jar.name):
            return f"Apache Kafka {found.group(1)}"
    return ""
