"""Is everything as a deployment should have it? One look at settings, servers and this machine.

A *subject* (settings, machine, database, redis, kafka) is read once, in a thread of its own, and its
*checks* are plain functions from what was read to findings. A server that is away costs its own subject one
red line.

``findings.py``    the shapes: levels, findings, checks, subjects, what is expected
``catalogue.py``   the subjects, in the order in which they are told
``running.py``     reads the subjects side by side, with a bound on each, and judges
``report.py``      the lines and the JSON; ``refused.py``: settings with which nothing starts
``clocks.py``      how far a server's clock is from ours; pure
``site.py`` ``encryption.py`` ``certificates.py`` ``machine.py``   settings and this machine
``database/`` ``redis/`` ``kafka/``   each: ``reading.py`` asks the server, the other files judge; pure

Who answers on a connection, and whether it can be worked with at all, is told by
``operations/connections.py``, and what a database lacks by ``operations/surroundings``: the same parts that
stop a start.
"""
