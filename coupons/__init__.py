"""First come, first served coupons.

    api -> claims (batch -> screen -> gate -> publish) => Kafka => consumer (loop -> batch) -> issuing

One direction, no going back. Each package's docstring is its map; begin with ``coupons/claims``, which
follows a claim from the HTTP request to the stored coupon and back.

``api``         HTTP: routes, errors, messages; nothing else knows a status code
``claims``      a claim's way in, and the way back: the status of a request
``gate``        Redis: refuses claims early that are too late; never the truth
``eventlog``    all code that knows Kafka
``tickets``     proof of who asks: the shop's signed tickets, the back office's keys
``issuing``     the transaction that decides
``figures``     what happened to each coupon in each second, for the event's page and its report
``operations``  what operators run: seed, reset, reconcile, verify, dead letters, checks of the database
``event_page``  what the admin's event page shows, made once a second for all who watch
``admin``       Django's admin

Below them all: ``models`` (tables), ``claim`` (the claim), ``outcomes`` (the closed sets of answers),
``errors``, ``selectors`` (questions to the database), ``coupon_cache`` (coupon rows, a moment old), ``sql``.
"""
