"""Redis in front of the database: refuses early, reserves slots, and never decides alone.

Keys of a coupon, with one hash tag so that a cluster holds them on one node:

``{coupon:N}:gate``             hash: ready, epoch (which row it is of), issued, reserved (how many)
``{coupon:N}:reservations``     hash: user -> request id of each accepted and undecided claim
``{coupon:N}:settled:told:MINUTE``  set: reserved request ids that a later claim was answered with
``{coupon:N}:settled:MINUTE``   hash: the winners of that minute, so that a second claim hears of the first

Beside them: ``{coupon-limits}:…`` (``limits.py``: how often addresses and users ask), ``coupon-requests:…``
(``pending.py``: where requests stand in the log, for the status route), ``coupon-consumer-rate:…`` (how fast
a partition is decided), ``{coupon-work}:…`` (``work_shown.py``: how far long work is), and locks: of coupons,
of loading gates, of housekeeping. What one call touches has one hash tag, so all of this works on a cluster.

What writes them:

``admission.py``     the calls; what changes more than one thing is a script in ``lua/``, one step in Redis
    admit            the API: reserves a slot, in the order of the claims
    release          the API, for an event that was certainly not published, or an earlier request that is
                     over; the consumer, for dead letters; the search for leaked slots
    notify           the consumer, after its commit
    load, correct, clear   below, and the command that resets a coupon
``loading.py``       the API: fills an empty gate from the coupon's row and the log's undecided events
``catching_up.py``   the consumer's housekeeping: a gate that missed decisions, or counts too many
``leaked_slots.py``  the consumer's housekeeping: reservations whose event never came to the log

``redis_client.py`` bounds the calls, ``keys.py`` has names and bytes. ``disclosed.py`` is a table of the
database: requests that an answer named and that may be in no log.

Invariants, while the gate is ready:

- issued + reservations <= issued + stock of the row, but for requests that were accepted without Redis;
- an accepted, undecided request has a reservation; a gate that lost one is unready, because
  ``reserved`` says how many there must be;
- the issued count of one row never goes back by itself: ``catching_up.py`` lowers it, and only when the
  database has decided all there is in the log.

Losing all of it loses nothing but work. While Redis is away the database's stock decides, and the consumer
rejects the surplus. docs/decisions/admission.md says why this holds.
"""
