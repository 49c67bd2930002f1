"""Servers as a company runs them: over TLS, with logins, as clusters. For the fault suite and for tests.

``certificates.py``  an authority, and what it signed
``urls.py``          the settings that lead to the servers
``kafka.py``         a node of Kafka, whose clients log in; ``brokers.py``: three of them, which may die
``redis.py``         alone, behind a Sentinel with a replica, as a cluster; ``watched_redis.py`` and
                     ``redis_nodes.py``: the last two, whose servers may die and whose slots move
``database.py``      MariaDB or MySQL with TLS; ``databases.py``: two of them behind haproxy
``servers.py``       all that one row of ``make faults FAULTS=--clusters`` runs on

Each server runs in a folder of its own and ends with the process that started it.
"""
