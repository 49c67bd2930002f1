"""Reads the log and issues: poll -> batch -> one transaction (rows and position) -> the gate is notified.

While the database works on a batch, in ``database_thread.py``, the loop's thread tells of the batch before
and receives and reads the next one, if there is a backlog.

``loop.py``          polls, waits; ``state.py``: what health shows of it; ``processor.py``: who decides for it
``group.py``         by which protocol, and under which name, we are a member of the group
``rebalances.py``    partitions come and go between batches; ``fetching.py``: the client is told of it
``ground_watch.py``  are positions and topic still those that the loop began with
``partitions.py``    the assigned partitions and their positions; ``offsets.py``: Kafka's copy of those
``batch.py``         decides a batch, event by event if it must; ``reading.py``: messages as requests
``resuming.py``      deferred events are decided once the deciding of their coupon is resumed
``source.py``        where a batch comes from: the log, or a resumed coupon
``telling.py``       Redis and the log hear of a batch; ``dead_letters.py``: what can never be issued
``tracing.py``           spans of events and batches, where COUPON_TRACING is on
``housekeeping.py``  leaked slots and gates that are wrong, in a thread of its own; ``watch.py``: what it
                     looks after for the metrics
``kafka.py``         the client; ``broker_watch.py`` notices one that gets nothing
``health.py``        readiness on its own port; ``shutdown.py``: SIGTERM and Ctrl-C
"""
