"""Kafka for the API, the consumer and the commands, and all that this project takes for granted of it.

The group's own client is in ``consumer/``; the command ``create_topics`` makes the topics.

``events.py``        the CouponIssueEvent: encode, decode, validate
``place.py``         where an event stands: partition and offset; the offsets that bound a partition
``kafka_client.py``  what all clients have in common, the topic's id
``producer.py``      publishing, acknowledged; ``delivery.py``: the three answers of a publish
``publication.py``   one call to publish, answered in parts
``circuits.py``      a circuit breaker for each partition; ``watchdog.py`` looks whether brokers live, by
                     ``broker_probe.py``, and has the producer mended
``positions.py``     how far the log is decided: rows of the database
``deferred.py``      what is undecided behind the position: the deciding of its coupon is paused
``backlog.py``       what is not decided, read from outside of the group
``log_reader.py``    reading to where a partition truly ends; ``log_search.py``: where a request stands
``log_state.py``     how log and positions stand to each other, for the operator

Taken for granted:

- A partition keeps its events in the order in which they were appended, and gives each an offset once. A
  topic that was deleted and made anew has another topic id (brokers without ids: its offsets are trusted).
- All events of one key are in one partition, as long as the number of partitions is not changed. After
  ``--alter`` the order across a coupon's two partitions is not defined; ``verify`` says so.
- An event that was acknowledged with acks=all is not lost while min.insync.replicas brokers keep their disks.
  A log that lost its end all the same makes its partition stand still (``log_position``).
- A publish ends in one of three ways: acknowledged, certainly not written, uncertain. An idempotent producer
  does not write twice. No event comes to the log later than twice the publish timeout after its reservation;
  but what a leader has and could not replicate can be read only when its replicas are back.
- Everything may be delivered twice. Kafka's committed offset is a copy for tools: nothing relies on it.

Not taken for granted: that retention leaves what is undecided, that messages are ours, that a client finds
its broker again (``consumer/broker_watch.py``), that the end that a broker reports for a partition is the
true one.
"""
