"""What the admin's event page shows, told anew once a second for all who watch.

``snapshot.py``  all of one event, or of today's events, as JSON
``series.py``    its charts: the last minutes by the second, the whole event in steps
``health.py``    how each part is, in codes that the page has words for; how far each partition is behind
``board.py``     keeps the newest snapshot: one process makes it, through Redis all others have it

A hundred people who watch cost what one costs: answers come from the board, ahead of Django
(``coupons/admin/events/route.py``), and making a snapshot takes some milliseconds of a thread of its own.
"""
