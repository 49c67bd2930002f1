"""Checks every promise between the topic, the database and Redis. Reads; changes nothing.

``run.py``       the whole look, twice where something moved (``snapshot.py``); ``findings.py``: the report
``events.py``    the log's events; ``outcome_rows.py``: the database's decisions
``log.py``       from each event to its outcome: ``matching.py``, ``race.py`` (who won), ``order.py``
``places.py``    from each outcome back to its event; ``positions.py``: how far the log is decided
``deferred.py``  events of coupons whose deciding is paused
``letters.py``   dead letters; ``database.py``: what the database alone shows; ``gate.py``: Redis
``recent.py``    what was decided lately, again and again at a bounded cost (``recent_checks.py``)
``noted.py``     what is worth knowing and not wrong
"""
