"""A claim's life, file by file, and the thread or greenlet that runs each step.

The way in, in a gunicorn worker (``runtime/gunicorn_worker.py``: one loop of greenlets, nothing patched; what
blocks a thread must not run in the loop, see ``runtime/greenlets.py``):

1.  ``runtime/http`` reads the request, ``couponsite/doors.py`` takes it and ``coupons/api/front.py`` sees
    that it is a claim. ``coupons/api/claims.py`` checks userId and body, ``callers.py`` the user's ticket,
    and gives the claim its request id.                            [the loop's hub: a connection's callback]
2.  ``batching.py`` puts the claim with those that wait in this worker. The busier the worker, the larger
    the batch, and the cheaper each claim.                                              [nobody waits]
    Where a limit is set, ``limiting.py`` takes the batch's tokens in one call to Redis
    (``coupons/gate/limits.py``), and gathers requests that are no claims; a flood is refused without Redis.
                                                                                  [a thread of its own]
    Who is doomed, as its partition is dead, waits for no screening for long (``doomed.py``).
3.  ``screening.py`` checks the batch: one query for users and holders (``coupons/selectors.py``), the coupons
    from ``coupons/coupon_cache.py``, at most COUPON_VIEW_TTL_MS (0.5 s) old. ``admitting.py`` asks the gates
    for a slot each, in one call to Redis (``coupons/gate/admission.py``, ``lua/admit.lua``).
                                                                  [a thread of greenlets.in_thread]
    Claims whose gate must be loaded (it is unknown; such claims are called cold) wait aside in
    ``warming.py`` while ``coupons/gate/loading.py`` loads it.           [a thread of greenlets.apart]
4.  ``submitting.py`` publishes the admitted claims (``coupons/eventlog/producer.py``) and waits for the
    broker's acknowledgement; librdkafka sends in a thread of its own, and its delivery reports are fetched
    by a greenlet.                                                              [the batch's greenlet]
5.  ``submitting.py`` gives back the slots of what was not published, notes where the event stands
    (``coupons/gate/pending.py``), and keeps ids that may not be in the log, uncertain ones and those of
    earlier requests (``coupons/gate/disclosed.py``, a table of the database), before an answer names them.
                                                                  [a thread of greenlets.in_thread]
6.  The answer is written to the connection: 202 and the request id, or a refusal.       [the loop's hub]

Where COUPON_TRACING is on, ``coupons/api/traced.py`` serves step 1 and ``tracing.py`` step 4: chosen when the
worker starts, so that without it no claim meets a branch of it.

The way on, in the consumer (``manage.py run_coupon_consumer``), in its main thread but for step 9:

7.  ``consumer/loop.py`` polls the log from the position that the database holds for each partition
    (``consumer/partitions.py``, ``coupons/eventlog/positions.py``).
8.  ``consumer/batch.py`` decodes up to 1,000 events (``reading.py``) and has them decided. An event that can
    never be stored becomes a dead letter, alone. With a backlog, the next batch is received and decoded, and
    the last one told (step 10), while the database works on this one.
9.  ``coupons/issuing/deciding.py``: Redis locks, then one transaction: position, coupon rows locked, winners
    by ``allocation.py`` (pure), stock taken, user coupons and outcomes written (``claim_rows.py``), COMMIT.
                                                         [the thread of consumer/database_thread.py]
10. ``consumer/telling.py`` notifies the gate (``coupons/gate/admission.py``, ``lua/notify.lua``): slots are
    freed, winners remembered for a minute or two; ``pending.py`` forgets the requests and notes the pace. The
    position is copied to Kafka's committed offsets (``consumer/offsets.py``), for tools.

The way back, in a gunicorn worker:

11. ``coupons/api/lookups_first.py`` sees that a status is asked for, ``lookups.py`` renders it.
                                                                            [a greenlet of its own]
    ``request_status.py`` answers: the outcome in the database, else Redis (``coupons/gate/pending.py``), else
    the table of ``disclosed.py``.                                    [a thread of lookup_threads.py]
    Else the log itself, which one thread reads for all that ask (``undecided.py``); the greenlet sleeps.
12. ``queue.py`` answers how many requests of a coupon wait, in the same threads.

All that a claim waits for in steps 2 to 4 is taken off one budget, which begins when the claim arrives
(``waiting.py``, ``waiting_s`` and ``loading_s`` in ``runtime/config``): a claim whose budget is used up is
refused, for certain where it was not published yet.

What a crash leaves between two steps:

- 3 and 4: a slot without an event. ``coupons/gate/leaked_slots.py`` finds it and rejects its request.
- 4 and 6: an event whose user knows no answer. It is decided all the same.
- 9 and 10: slots of decided requests. ``coupons/gate/catching_up.py`` frees them.

The consumer that has the turn to keep house looks for the first and the last (``consumer/housekeeping.py``);
a consumer that is given partitions frees decided slots at once, without the turn.
"""
