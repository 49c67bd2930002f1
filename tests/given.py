"""COUPON_TEST_STACK=given: servers that somebody else runs, by the variables the project itself reads.

Nothing that was there is touched: the tests get a database of their own beside the named one, a Redis that
holds anything is refused, and of Kafka's topics only those are deleted that the tests made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

VARIABLES: Final = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS")
PATIENCE_S: Final = 10
_DATABASE_EXISTS: Final = 1007
_NO_RIGHT: Final = (1044, 1045, 1227)


class GivenServersRefused(RuntimeError):
    """The servers that are named cannot be used; the message says what would mend it."""


@contextmanager
def given(environ: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The variables that lead to the servers while the tests run."""
    missing = [name for name in VARIABLES if not environ.get(name)]
    if missing:
        raise GivenServersRefused(f"COUPON_TEST_STACK=given needs {', '.join(missing)}")
    urls = {name: environ[name] for name in VARIABLES}
    with (
        _empty_redis(urls["REDIS_URL"]),
        _own_topics(urls["KAFKA_BOOTSTRAP_SERVERS"]),
        _own_database(urls["DATABASE_URL"]) as database_url,
    ):
        yield {**urls, "DATABASE_URL": database_url}


def versions(environ: Mapping[str, str]) -> dict[str, str]:
    """Kafka's brokers do not tell theirs."""
    import redis

    with closing(_connect(environ["DATABASE_URL"])) as database:
        told = database.get_server_info()
    with closing(redis.Redis.from_url(environ["REDIS_URL"], socket_timeout=PATIENCE_S)) as client:
        server = client.info("server")
    kind = "MariaDB" if "mariadb" in told.lower() else "MySQL"
    return {
        "database": f"{kind} {told.partition('-')[0]}",
        "redis": f"Redis {server['redis_version']}",
        "kafka": f"Kafka at {environ['KAFKA_BOOTSTRAP_SERVERS']}",
    }


def _connect(url: str) -> Any:
    """mysqlclient's connection, which has no types."""
    if not url.startswith("mysql://"):
        raise GivenServersRefused("DATABASE_URL: the given database must be mysql://user:password@host/name")
    import dj_database_url
    import MySQLdb

    parts = dj_database_url.parse(url)
    try:
        return MySQLdb.connect(
            host=parts["HOST"],
            port=int(parts["PORT"] or 3306),
            user=parts["USER"],
            password=parts["PASSWORD"],
            database=parts["NAME"],
            connect_timeout=PATIENCE_S,
            autocommit=True,
        )
    except MySQLdb.OperationalError as error:
        raise GivenServersRefused(f"the database of DATABASE_URL is not reached: {error.args[1]}") from error


@contextmanager
def _own_database(url: str) -> Iterator[str]:
    """A new database on that server, gone at the end. The named one is not looked into."""
    import MySQLdb

    name = f"test_given_{os.getpid()}"
    with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
        try:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        except MySQLdb.Error as error:
            mend = {
                _DATABASE_EXISTS: "an earlier run left it: drop it if it is yours",
                **dict.fromkeys(_NO_RIGHT, r"grant the user ALL ON `test\_%`.*"),
            }
            raise GivenServersRefused(
                f"the tests' own database {name} could not be made: {error.args[1]}; "
                f"{mend.get(error.args[0], 'see the server')}"
            ) from error
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"DROP DATABASE {name}")


@contextmanager
def _empty_redis(url: str) -> Iterator[None]:
    """Each test empties its database, so nothing may be there; what the last one left goes at the end."""
    import redis

    with closing(redis.Redis.from_url(url, socket_timeout=PATIENCE_S)) as client:
        try:
            in_use = client.info("keyspace")
        except redis.RedisError as error:
            raise GivenServersRefused(f"the server of REDIS_URL is not reached: {error}") from error
        if in_use:
            raise GivenServersRefused(
                f"the server of REDIS_URL holds keys ({', '.join(in_use)}), and the tests would delete them: "
                "name an empty one"
            )
        yield
        client.flushdb()


@contextmanager
def _own_topics(servers: str) -> Iterator[None]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": servers})

    def topics() -> set[str]:
        try:
            return set(client.list_topics(timeout=PATIENCE_S).topics)
        except KafkaException as error:
            raise GivenServersRefused(f"KAFKA_BOOTSTRAP_SERVERS={servers} is not reached: {error}") from error

    before = topics()
    try:
        yield
    finally:
        made = sorted(name for name in topics() - before if name.startswith("events-"))
        if made:
            for deleted in client.delete_topics(made, request_timeout=PATIENCE_S).values():
                deleted.result(timeout=PATIENCE_S)
