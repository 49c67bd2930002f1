"""Reads the log and issues: poll -> batch -> one transaction (rows and position) -> the gate is notified.

``loop.py``          polls, waits, follows rebalances; ``state.py``: what health shows of it
``ground_watch.py``  are positions and topic still those that the loop began with
``partitions.py``    the assigned partitions and their positions; ``offsets.py``: Kafka's copy of those
``batch.py``         decode, issue, notify; ``dead_letters.py`` publishes what can never be issued
``housekeeping.py``  leaked slots and gates that are wrong, in a thread of its own
``kafka.py``         the client; ``broker_watch.py`` notices one that gets nothing
``health.py``        readiness on its own port; ``shutdown.py``: SIGTERM and Ctrl-C
"""
