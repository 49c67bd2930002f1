"""A client of a Redis Cluster that can be used as one of a single server.

redis-py's own client of clusters differs where we cannot: it connects when it is made, raises
RedisClusterException, which is no RedisError, while no node answers, refuses EVALSHA in a pipeline
(https://github.com/redis/redis-py/issues/2914), and runs a pipeline's commands again, one by one, each with
its own timeout, when a node is away. So its knowledge of slots and nodes is used, and pipelines are ours.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis import ConnectionPool, Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.cluster import ClusterNode
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

Command = tuple[tuple[Any, ...], dict[str, Any]]  #: a command with its arguments, and redis-py's options

#: Where the first key stands in a command's arguments; in all others that we put into pipelines it is 1.
_FIRST_KEY: Final = {"EVALSHA": 3, "EVAL": 3}
#: What Redis says of keys whose slot has left one node and is not yet another one's: of a script that was let
#: in, and of a slot that nobody has for a moment. Other slots are served meanwhile.
_MOVING: Final = ("non local key", "Hash slot not served")


def is_moving(error: RedisError) -> bool:
    """Whether the error is about keys that are moving to another node right now: soon they can be asked.

    redis-py raises a plain ClusterError when it was sent to and fro too often.
    """
    if isinstance(error, TryAgainError | AskError):  # MovedError is an AskError
        return True
    if isinstance(error, ClusterError) and not isinstance(error, ClusterDownError):
        return True
    return any(words in str(error) for words in _MOVING)


class _Nodes(RedisCluster):
    #: Nodes that one command is sent to: one that had the slot, one that has it, or the two between which it
    #: moves. redis-py's 16 sleep for 0.4 s while a slot moves, and claims on other coupons would wait.
    RedisClusterRequestTTL = 4


class ClusterRedis(Redis):
    """Sends each command to the node that has its key. Thread-safe; connects at the first call.

    Every call raises RedisError while nodes are away. The nodes that it was made with are asked again then,
    by name, so that a cluster whose nodes have all moved is found.
    """

    def __init__(
        self, addresses: Sequence[tuple[str, int]], *, longest_call_s: float, **connecting: Any
    ) -> None:
        super().__init__()  # its pool is never connected: it only knows how texts are encoded
        self._addresses = addresses
        self._connecting = connecting
        self._longest_call_s = longest_call_s
        self._making = threading.Lock()
        self._cluster: RedisCluster | None = None

    @property
    def nodes(self) -> RedisCluster:
        """redis-py's client, made at the first call. Raises ConnectionError."""
        if self._cluster is None:
            if not self._making.acquire(timeout=self._longest_call_s):
                raise ConnectionError("another thread is connecting to the cluster")
            try:
                with _redis_errors():
                    self._cluster = self._cluster or self._made()
            finally:
                self._making.release()
        return self._cluster

    @property
    def masters(self) -> int:
        """How many masters share the slots, as far as is known. Raises ConnectionError."""
        return len(self.nodes.get_primaries())  # type: ignore[no-untyped-call]

    @property
    def any_node(self) -> ClusterNode:
        """For commands without a key. Raises ConnectionError."""
        return self.nodes.get_random_node()  # type: ignore[no-untyped-call,no-any-return]

    def _made(self) -> RedisCluster:
        return _Nodes(
            startup_nodes=[ClusterNode(host, port) for host, port in self._addresses],  # type: ignore[no-untyped-call]
            retry=Retry(NoBackoff(), 0),
            dynamic_startup_nodes=False,
            **self._connecting,
        )

    def execute_command(self, *args: Any, **options: Any) -> Any:
        nodes = self.nodes
        with self._healing():
            return nodes.execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def scan_iter(self, *args: Any, **options: Any) -> Iterator[Any]:
        """All nodes' keys."""
        nodes = self.nodes
        with _redis_errors():
            yield from nodes.scan_iter(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """A pipeline that asks one node after the other. A transaction's keys must be of one hash tag."""
        return _ClusterPipeline(self, transaction=transaction)

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()

    def together(self, pipeline: Pipeline, *, raise_on_error: bool) -> list[Any]:
        """The answers to a pipeline's commands, in order. Raises RedisError if a node does not answer."""
        stack: list[Command] = pipeline.command_stack
        answers: list[Any] = [None] * len(stack)
        for pool, places in self._by_node(stack):
            share = Pipeline(pool, self.response_callbacks, pipeline.transaction, None)
            share.command_stack = [stack[place] for place in places]
            share.scripts = pipeline.scripts
            with self._looked_up_again():
                for place, answer in zip(places, share.execute(raise_on_error=False), strict=True):
                    answers[place] = answer
        for place, answer in enumerate(answers):
            if isinstance(answer, AskError):  # or MovedError: its node did not run it, the other one does
                answers[place] = self._answer(stack[place])
            if raise_on_error and isinstance(answers[place], Exception):
                raise answers[place]
        return answers

    def _answer(self, command: Command) -> Any:
        arguments, options = command
        try:
            return self.execute_command(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - a pipeline's answers may be errors
            return error

    def _by_node(self, stack: Sequence[Command]) -> list[tuple[ConnectionPool, list[int]]]:
        """The commands' places in the pipeline, by the connections to the node that has their keys."""
        nodes = self.nodes
        places: defaultdict[ClusterNode, list[int]] = defaultdict(list)
        with self._healing():
            for place, (arguments, _) in enumerate(stack):
                slot = nodes.keyslot(arguments[_FIRST_KEY.get(arguments[0], 1)])  # type: ignore[no-untyped-call]
                places[nodes.nodes_manager.get_node_from_slot(slot)].append(place)
            return [(nodes.get_redis_connection(node).connection_pool, places[node]) for node in places]

    @contextmanager
    def _looked_up_again(self) -> Iterator[None]:
        """Ask which node has which slots if one does not answer: a replica may have taken its place."""
        try:
            yield
        except (ConnectionError, TimeoutError):
            with _redis_errors():
                self.nodes.nodes_manager.initialize()
            raise

    @contextmanager
    def _healing(self) -> Iterator[None]:
        """As ``_redis_errors``, and ask which node has which slots where none was known to have one.

        redis-py asks only on a node's answer, and no node is asked for such a slot: it stays unknown for ever
        (https://github.com/redis/redis-py/issues/3620).
        """
        with _redis_errors():
            try:
                yield
            except SlotNotCoveredError:
                self.nodes.nodes_manager.initialize()
                raise


class _ClusterPipeline(Pipeline):
    def __init__(self, cluster: ClusterRedis, *, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        try:
            return self._cluster.together(self, raise_on_error=raise_on_error)
        finally:
            self.reset()


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except RedisClusterException as error:
        raise ConnectionError(str(error)) from error
