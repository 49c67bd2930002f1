"""What operators do, as functions: the commands in ``coupons/management/commands`` parse and call these.

``seeding.py``, ``resetting.py``     rows to begin with; back to the beginning
``status.py``                        the whole system on one screen
``purging.py``                       delete the outcomes of events that ended long ago
``reconciling.py``                   mend gates from the database and the log
``stock.py``                         add or take stock, under the row's lock
``dead_letters.py``                  show, replay, discard
``verification/``                    from the log to the rows and back: is everything as promised?
``surroundings/``                    is this database one that can work: character set, columns, constraints
``adopting/``                        take over the Kotlin application's tables
``health.py``                        the components of health, of the API and of consumers
``connections.py``                   who answers on each connection, and what stops a start
``preflight/``                       all that a deployment should have, looked at once
"""
