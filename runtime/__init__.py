"""What every process needs, knowing nothing of coupons.

``config/``               every setting, read once; ``arguments.py``: commands; ``chunks.py``: a few at a time
``csv_lines.py``           CSV whose cells begin no formula
``seldom.py``             log lines once a minute; ``watched_file.py``: read again when it has changed
``secret_strength.py``     secrets that the API refuses to start with
``operator_language.py``   what commands print, in Korean too; ``wording.py``: texts that are told later;
                          ``refused_settings.py``: the line of a wrong setting
``logs.py``               lines as text or JSON; ``log_file.py``: rotation, a full disk
``tracing.py``            OpenTelemetry's spans, where COUPON_TRACING is on
``metrics.py``            every metric; ``metrics_files.py``, ``metrics_folder.py``: a folder for each master
``actuator.py``           health and info
``greenlets.py``          the worker's loop, and threads for what would block it
``short_sleep.py``        sleeps in that loop of less than a millisecond
``open_files.py``         how many files, and so clients, a worker may have
``gunicorn_worker.py``    the worker: one loop, nothing patched, drained when asked to stop
``http/``                 requests and answers: for the workers and for the consumer's health port
``redis_clients.py``      makes every client of Redis; ``redis_cluster.py``: the one of a cluster;
                          ``redis_roles.py``: leaves a Redis that became a replica; ``redis_server.py``: who
                          answers, and what mends an error
``database_server.py``    TLS, and who answers; ``database_errors.py``: sorts errors
``replica.py``            reads that may be some moments old
"""

__version__ = "0.1.0"
