"""librdkafka's mock Kafka cluster as a process: ``python -m dev.embedded.mock_broker TOPIC...``

The stand-in where there is no Tansu binary. Its limits are in docs/decisions/embedded-broker.md:
it keeps 5 MB of each partition and drops the oldest events beyond that, read or not.
"""

from __future__ import annotations

import signal
import sys

from confluent_kafka import Producer


def main(topics: list[str]) -> None:
    # The cluster lives in the process of the client that is configured with it.
    client = Producer({"test.mock.num.brokers": 1, "log_level": 3})
    (broker,) = client.list_topics(timeout=10).brokers.values()
    for topic in topics:
        client.list_topics(topic=topic, timeout=10)  # asking for a topic makes it
    print(f"listening on {broker.host}:{broker.port}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
