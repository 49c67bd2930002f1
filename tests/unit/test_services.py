"""The development services' own rules: ports, the identity of a process, what is printed.

No server is started here. What needs one is tried by the tests that run on the real services.
"""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.processes import LOOPBACK, Process, free_port, last_lines
from dev.servers import ServiceError, held, kafka_serves, refuse_shared, refuse_taken
from dev.services import (
    daemon as daemons,
)
from dev.services import (
    database_programs,
    mysql_packages,
    programs,
    report,
)
from dev.services.__main__ import main
from dev.services.daemon import Choice, Daemon, Record
from dev.services.kafka import Kafka
from dev.services.mariadb import MariaDB
from dev.services.own import Services
from dev.services.redis import Redis
from dev.services.replica import Replica
from dev.services.stack import GITIGNORE, Kind, Stack


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process to look at and to signal."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        yield child
        child.kill()


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(name="redis", run_dir=tmp_path, log=tmp_path / "redis.log")


def record(daemon: Daemon, *, pid: int, started: str, port: int = 26379) -> None:
    entry = {"pid": pid, "started": started, "port": port}
    (daemon.run_dir / f"{daemon.name}.json").write_text(json.dumps(entry))


def started_at(pid: int) -> str:
    seen = daemons.look_at(pid)
    assert seen is not None
    return seen.started


class TestPorts:
    def test_a_taken_port_is_named_with_what_changes_it(self) -> None:
        with socket.create_server((LOOPBACK, 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(ServiceError, match=f"port {port} of SERVICES_MARIADB_PORT is taken: stop"):
                refuse_taken({"SERVICES_REDIS_PORT": free_port(), "SERVICES_MARIADB_PORT": port})

    def test_a_port_bound_on_all_addresses_is_taken(self) -> None:
        with socket.create_server(("0.0.0.0", 0)) as somebody, pytest.raises(ServiceError):
            refuse_taken({"COUPON_API_PORT": somebody.getsockname()[1]})

    def test_a_port_that_needs_root_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: socket.socket, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(socket.socket, "bind", refuse)
        with pytest.raises(ServiceError, match=r"port 80 of COUPON_API_PORT cannot be used .* above 1023"):
            refuse_taken({"COUPON_API_PORT": 80})

    def test_a_free_port_is_no_obstacle_right_after_its_server_ended(self) -> None:
        with socket.create_server((LOOPBACK, 0)) as server:
            port = server.getsockname()[1]
            client = socket.create_connection((LOOPBACK, port))
            server.accept()[0].close()  # closing first leaves the connection waiting out its end
            client.close()
        refuse_taken({"SERVICES_REDIS_PORT": port})

    def test_two_servers_cannot_share_a_port(self, tmp_path: Path) -> None:
        stack = Stack(directory=tmp_path, asked_ports={"redis": 29093, "kafka": 29092})
        ports = Redis(stack=stack).ports | Kafka(stack=stack).ports
        with pytest.raises(ServiceError, match="REDIS_PORT and SERVICES_KAFKA_PORT plus 1 are both 29093"):
            refuse_shared(ports)

    def test_a_flag_goes_before_an_environment_variable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SERVICES_REDIS_PORT", "1111")
        monkeypatch.setenv("SERVICES_KAFKA_PORT", "2222")
        monkeypatch.setenv("SERVICES_MARIADB_PORT", "")
        main(["status", "--json", "--redis-port=3333", "--dir", str(tmp_path / "none")])
        told = json.loads(capsys.readouterr().out)["services"]
        assert {each["name"]: each["port"] for each in told} == {
            "mariadb": 23306, "redis": 3333, "kafka": 2222,
        }  # fmt: skip

    @pytest.mark.parametrize("text", ["0", "65535", "-1", "abc", "1.5", "", "٣"])
    def test_a_wrong_port_names_its_flag(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["status", f"--redis-port={text}"])
        assert f"--redis-port: {text!r}, given here or as its variable, is" in capsys.readouterr().err


class TestLock:
    def test_a_second_owner_is_told_who_the_first_is(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock"
        with (
            held(lock, else_told=""),
            pytest.raises(ServiceError, match=rf"^process {os.getpid()} runs it already$"),
            held(lock, else_told="runs it already"),
        ):
            pass

    def test_it_is_free_again_afterwards(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock"
        for _ in range(2):
            with held(lock, else_told=""):
                assert lock.read_text() == f"{os.getpid()}\n"


class TestIdentity:
    def test_a_recorded_process_is_recognised(self, daemon: Daemon, sleeper: subprocess.Popen[bytes]) -> None:
        record(daemon, pid=sleeper.pid, started=started_at(sleeper.pid))
        running = daemon.running()
        assert running is not None
        assert running.pid == sleeper.pid

    def test_a_stranger_with_the_same_pid_is_left_alone(
        self, daemon: Daemon, sleeper: subprocess.Popen[bytes]
    ) -> None:
        record(daemon, pid=sleeper.pid, started="another boot/12345")
        assert daemon.running() is None
        daemon.ask_to_stop()
        daemon.kill()
        assert sleeper.poll() is None

    def test_our_process_is_signalled_and_its_end_seen(
        self, daemon: Daemon, sleeper: subprocess.Popen[bytes]
    ) -> None:
        record(daemon, pid=sleeper.pid, started=started_at(sleeper.pid))
        daemon.kill()  # the child is not reaped yet: a zombie counts as ended
        assert daemon.running() is None
        assert sleeper.wait(timeout=10) == -signal.SIGKILL

    def test_paused_and_resumed(self, daemon: Daemon, sleeper: subprocess.Popen[bytes]) -> None:
        record(daemon, pid=sleeper.pid, started=started_at(sleeper.pid))
        daemon.signal(signal.SIGSTOP)
        os.waitpid(sleeper.pid, os.WUNTRACED)
        assert daemon.paused()
        daemon.signal(signal.SIGCONT)
        os.waitpid(sleeper.pid, os.WCONTINUED)
        assert not daemon.paused()

    @pytest.mark.parametrize(
        "text",
        ["", "garbage", "[]", '{"pid": 1}', '{"choice": {"binlog": 1}}'],
    )
    def test_a_broken_record_is_no_record(self, daemon: Daemon, text: str) -> None:
        (daemon.run_dir / "redis.json").write_text(text)
        assert daemon.running() is None

    def test_two_processes_have_two_identities(self, sleeper: subprocess.Popen[bytes]) -> None:
        assert started_at(sleeper.pid) == started_at(sleeper.pid)
        assert started_at(sleeper.pid) != started_at(os.getppid())

    @pytest.mark.parametrize(
        ("line", "seen"),
        [
            (
                "Ssl  Sun Nov 22 17:25:30 2026",
                daemons.Sighting(started="Sun Nov 22 17:25:30 2026", paused=False),
            ),
            (
                "T    Sun Nov 22 17:25:30 2026",
                daemons.Sighting(started="Sun Nov 22 17:25:30 2026", paused=True),
            ),
            ("Z    Sun Nov 22 17:25:30 2026", None),
            ("", None),
        ],
    )
    def test_ps_is_asked_where_there_is_no_proc(
        self, line: str, seen: daemons.Sighting | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "ps").write_text(f"#!/bin/sh\necho '{line}'\n")
        (tmp_path / "ps").chmod(0o755)
        monkeypatch.setattr(daemons, "PROC", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert daemons.look_at(4242) == seen

    def test_a_signal_during_a_start_comes_after_it(self) -> None:
        steps: list[str] = []

        def start() -> None:
            with daemons.signals_held_back():
                signal.raise_signal(signal.SIGINT)
                steps.append("recorded")

        with pytest.raises(KeyboardInterrupt):
            start()
        assert steps == ["recorded"]


class TestStack:
    def test_a_folder_with_other_things_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("precious")
        stack = Stack(directory=tmp_path, asked_ports={})
        with pytest.raises(ServiceError, match="holds other things"), stack.locked():
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    def test_git_ignores_a_new_folder(self, tmp_path: Path) -> None:
        with Stack(directory=tmp_path / "new", asked_ports={}).locked():
            assert (tmp_path / "new/.gitignore").read_text() == GITIGNORE
            assert GITIGNORE.endswith("\n*\n")

    def test_a_folder_of_ours_is_known_though_its_mark_is_worded_otherwise(self, tmp_path: Path) -> None:
        (tmp_path / ".gitignore").write_text("# The folder of a stack of servers: as it was.\n*\n")
        (tmp_path / "kafka-libs").mkdir()
        with Stack(directory=tmp_path, asked_ports={}).locked():
            assert (tmp_path / "run").is_dir()

    def test_the_last_port_is_kept_until_another_is_asked_for(self, tmp_path: Path) -> None:
        stack = Stack(directory=tmp_path, asked_ports={})
        assert Redis(stack=stack).port == 26379
        stack.run_dir.mkdir()
        record(Redis(stack=stack).daemon, pid=2**22 + 1, started="long ago", port=7000)
        assert Redis(stack=stack).port == 7000
        assert Redis(stack=Stack(directory=tmp_path, asked_ports={"redis": 8000})).port == 8000

    def test_a_command_names_a_folder_that_is_not_the_default(self, tmp_path: Path) -> None:
        here = Stack(directory=Path(".services").resolve(), asked_ports={})
        assert here.command_line("stop") == "python -m dev.services stop"
        there = Stack(directory=tmp_path / "a b", asked_ports={})
        assert there.command_line("stop") == f"python -m dev.services stop --dir '{tmp_path}/a b'"


class TestCommand:
    def test_status_of_a_stack_that_never_was(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["status", "redis", "--json", "--dir", str(tmp_path / "none")]) == 3
        told = json.loads(capsys.readouterr().out)
        assert told["services"][0] | {"port": None} == {
            "name": "redis", "pid": None, "port": None, "state": "down", "version": "",
        }  # fmt: skip
        assert not (tmp_path / "none").exists()

    def test_an_unknown_service_is_one_line(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert main(["start", "postgres", "--dir", str(tmp_path / "none")]) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: there is no service 'postgres': choose from mariadb, redis, kafka")

    def test_sql_without_a_database_says_how_to_start_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["sql", "SELECT 1", "--dir", str(tmp_path / "none")]) == 1
        assert "start it with `python -m dev.services start mariadb --dir" in capsys.readouterr().err


def stack_in(folder: Path, *, kind: Kind | None = None, binlog: bool | None = None) -> Stack:
    (folder / "run").mkdir(exist_ok=True)
    return Stack(directory=folder, asked_ports={}, asked_kind=kind, asked_binlog=binlog)


def program_in(folder: Path, name: str, *, says: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the machine's search path."""
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(folder))
    return folder


class TestDatabase:
    @pytest.mark.parametrize("text", ["MySQL", "postgres", "sqlite"])
    def test_another_server_is_refused_wherever_it_was_named(
        self, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SERVICES_DATABASE", text)
        for named in ([], [f"--database={text}"]):
            with pytest.raises(SystemExit):
                main(["status", *named])
            told = capsys.readouterr().err
            assert f"{text!r}, given here or as SERVICES_DATABASE, is no database server: choose" in told

    def test_it_stays_what_it_was_until_another_is_asked_for(self, tmp_path: Path, machine: Path) -> None:
        assert MariaDB(stack=stack_in(tmp_path)).choice == Choice(kind=Kind.MARIADB, binlog=False)
        chosen = MariaDB(stack=stack_in(tmp_path, kind=Kind.MYSQL, binlog=True))
        server = Process(
            name="it", command=["true"], log=tmp_path / "log", env={"PATH": os.defpath}, folder=tmp_path
        )
        chosen.daemon.start(server, chosen.choice)
        server.wait(within_s=10)
        assert MariaDB(stack=stack_in(tmp_path)).choice == Choice(kind=Kind.MYSQL, binlog=True)
        other = MariaDB(stack=stack_in(tmp_path, kind=Kind.MARIADB, binlog=False))
        assert other.choice == Choice(kind=Kind.MARIADB, binlog=False)

    def test_neither_kind_is_shown_the_others_files(self, tmp_path: Path) -> None:
        folders = {MariaDB(stack=stack_in(tmp_path, kind=kind)).folder.name for kind in Kind}
        assert folders == {"mariadb", "mysql"}

    def test_one_that_runs_is_not_taken_for_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = Record(pid=1, started="", port=1, choice=Choice(kind=Kind.MARIADB, binlog=False))
        monkeypatch.setattr(Daemon, "last_record", lambda _: runs)
        monkeypatch.setattr(Daemon, "running", lambda _: runs)
        MariaDB(stack=stack_in(tmp_path)).require_as_asked()
        with pytest.raises(ServiceError, match=r"is mariadb, .* `.*restart mariadb --database mysql"):
            MariaDB(stack=stack_in(tmp_path, kind=Kind.MYSQL)).require_as_asked()
        with pytest.raises(ServiceError, match=r"with no binary log: .* `.*restart mariadb --binlog"):
            MariaDB(stack=stack_in(tmp_path, binlog=True)).require_as_asked()

    def test_a_link_to_mariadb_is_no_mysql(self, machine: Path) -> None:
        program_in(machine, "mysqld", says="mysqld  Ver 10.11.19-MariaDB for debian-linux-gnu")
        assert database_programs.kind_at_hand() is Kind.MARIADB
        program_in(machine, "mysqld", says="mysqld  Ver 8.4.9 for Linux on x86_64")
        assert database_programs.kind_at_hand() is Kind.MYSQL

    def test_the_machines_own_mysql_is_used(self, machine: Path, tmp_path: Path) -> None:
        own = {
            name: program_in(machine, name, says=f"{name}  Ver 8.4.9 for Linux")
            for name in ("mysqld", "mysql", "mysqldump")
        }
        found = database_programs.provide(Kind.MYSQL, directory=tmp_path)
        assert (found.server, found.client, found.dump) == tuple(own.values())

    def test_without_apt_mysql_is_asked_for(self, machine: Path, tmp_path: Path) -> None:
        with pytest.raises(ServiceError, match=r"MySQL is missing: install MySQL 8 or newer .* on the PATH"):
            database_programs.provide(Kind.MYSQL, directory=tmp_path)

    def test_where_apt_has_none_nothing_is_left_half_done(self, machine: Path, tmp_path: Path) -> None:
        for name in ("apt-get", "apt-cache", "dpkg-deb"):
            program_in(machine, name, says="")
        with pytest.raises(ServiceError, match="MySQL is missing, and apt's sources"):
            database_programs.provide(Kind.MYSQL, directory=tmp_path)
        assert not (tmp_path / mysql_packages.FOLDER / mysql_packages.MARKER).exists()

    def test_debian_comes_from_where_the_machine_gets_its_own(self, machine: Path) -> None:
        sites = "\n".join(
            [
                "http://here/debian bookworm main",
                "http://here/debian bookworm-updates main",
                "http://here/security bookworm-security main",
                "http://others/debian bookworm stable",
            ]
        )
        program_in(machine, "apt-get", says=sites)
        assert mysql_packages._sites(codename="bookworm") == ["http://here/debian"]

    def test_a_wrapper_starts_through_the_loader_that_came_with_it(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        for name in ("usr/lib/ld-linux-any.so.2", "usr/lib/any/libc.so.6", "usr/sbin/mysqld"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        (root / "usr/lib/ld-linux-any.so.2").write_text('#!/bin/sh\necho "$@"\n')
        (root / "usr/lib/ld-linux-any.so.2").chmod(0o755)

        mysql_packages._write_wrappers(tmp_path, root=root)

        told = programs.output_of([str(tmp_path / "bin/mysqld"), "--datadir=a b"])
        assert told.strip() == (
            f"--library-path {root}/usr/lib/any {root}/usr/sbin/mysqld --datadir=a b --basedir={root}/usr"
        )

    def test_a_replica_needs_a_primary(self, tmp_path: Path) -> None:
        with pytest.raises(ServiceError, match=r"start it with `.*restart mariadb --binlog"):
            Replica(stack=stack_in(tmp_path)).prepare()


class TestOwnStack:
    @pytest.mark.parametrize(("asked", "taken"), [("mysql", "mysql"), ("", "mariadb"), (None, "mariadb")])
    def test_a_suite_runs_on_what_was_asked_for_and_not_on_the_last_runs(
        self, asked: str | None, taken: str, tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commands: list[tuple[str, ...]] = []

        def run(_: Services, *words: str) -> str:
            commands.append(words)
            return '{"environment": {"DATABASE_URL": "", "REDIS_URL": "", "KAFKA_BOOTSTRAP_SERVERS": ""}}'

        monkeypatch.setattr(Services, "run", run)
        if asked is None:
            monkeypatch.delenv("SERVICES_DATABASE", raising=False)
        else:
            monkeypatch.setenv("SERVICES_DATABASE", asked)

        Services(folder=tmp_path).start()

        [start] = [words for words in commands if words[0] == "start"]
        assert start[1:4] == ("--database", taken, "--no-binlog")


class TestReport:
    def test_the_environment_leads_to_the_ports(self, tmp_path: Path) -> None:
        stack = Stack(directory=tmp_path, asked_ports={"mariadb": 1, "redis": 2, "kafka": 3})
        assert report.environment([MariaDB(stack=stack), Redis(stack=stack), Kafka(stack=stack)]) == {
            "DATABASE_URL": "mysql://application:application@127.0.0.1:1/e_commerce_db",
            "REDIS_URL": "redis://127.0.0.1:2/0",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:3",
        }

    def test_the_table_lines_up(self) -> None:
        rows = [
            report.Status(name="redis", pid=7, port=26379, state=report.State.UP, version="Redis 7.0.15"),
            report.Status(name="kafka", pid=None, port=29092, state=report.State.DOWN, version=""),
        ]
        assert report.table(rows).splitlines() == [
            "NAME   PID  PORT   STATE  VERSION",
            "redis  7    26379  up     Redis 7.0.15",
            "kafka  -    29092  down   -",
        ]

    def test_a_logs_end_does_not_reach_back_before_this_start(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        log.write_text("old\n")
        start = log.stat().st_size
        assert last_lines(log, start=start) == "  (nothing logged)"
        with log.open("a") as file:
            file.write("new\n")
        assert last_lines(log, start=start) == "  new"
        assert last_lines(log) == "  old\n  new"


class TestPrograms:
    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ('openjdk version "17.0.15" 2025-04-15', 17),
            ('openjdk version "21" 2023-09-19', 21),
            ('java version "1.8.0_402"', 8),
            ('openjdk version "25-ea" 2025-09-16', 25),
            ("no such thing", 0),
        ],
    )
    def test_java_versions(self, text: str, version: int) -> None:
        assert programs.java_version(text) == version

    def test_the_machines_own_program_goes_before_a_virtual_environments(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in ("system", "venv"):
            program = tmp_path / folder / "some-server"
            program.parent.mkdir()
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
        monkeypatch.setattr(programs, "SYSTEM_FOLDERS", (str(tmp_path / "system"),))
        monkeypatch.setenv("PATH", str(tmp_path / "venv"))
        found = list(programs.find_all(["some-server"]))
        assert found == [tmp_path / "system/some-server", tmp_path / "venv/some-server"]

    def test_without_root_a_missing_program_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(ServiceError, match=r"nosuch-server is missing: install it with .*redis-server"):
            programs.require(["nosuch-server"], packages=["redis-server"])

    def test_kafkas_version_is_its_jars(self, tmp_path: Path) -> None:
        kafka = Kafka(stack=Stack(directory=tmp_path, asked_ports={}))
        assert kafka.version() == ""
        kafka.libs.mkdir()
        (kafka.libs / "kafka_2.13-4.1.1.jar").touch()
        (kafka.libs / "kafka-clients-9.9.9.jar").touch()
        assert kafka.version() == "Apache Kafka 4.1.1"


class TestKafka:
    def test_a_port_that_is_open_too_early_does_not_serve(self) -> None:
        with socket.create_server((LOOPBACK, 0)) as server:
            assert not kafka_serves(server.getsockname()[1])

    def test_nobody_there(self) -> None:
        assert not kafka_serves(free_port())
