"""The transaction that decides: the only writer of issued coupons.

``deciding.py``    locks -> BEGIN -> position row, coupon rows -> rows written -> COMMIT -> unlock
                   (events of a coupon whose deciding is paused are deferred: coupons/eventlog/deferred.py)
``allocation.py``  which of the requests get a coupon: pure, in log order
``claim_rows.py``  the batch's questions and rows, in one statement each
``failures.py``    dead letters and FAILED outcomes, in the same transaction
``locks.py``       the Redis lock per coupon: saves work, decides nothing

Rows are locked in one order: positions by partition, then coupons by id. So no writers wait for each other in
a ring.
"""
