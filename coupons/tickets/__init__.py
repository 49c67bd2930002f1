"""Proof of who asks: tickets that the shop's login signs, and keys of the shop's back office. No HTTP here.

``signing_keys.py``  the shop's public keys and secrets, read from texts; pure
``ticket.py``        one check of a ticket, without a lookup; pure but for the clock
``office_keys.py``   keys with scopes, known by their hashes; pure
``jwks.py``          fetches the keys from the shop's address                        [the ring's own thread]
``key_ring.py``      holds what is valid now; sees that files and the address changed
                     [reads: the loop and page threads; changes: a thread of its own]
``deploy_check.py``  what `manage.py check --deploy` says of them

coupons/api/callers.py reads the headers and asks here. Nothing here but the ring's thread waits for anything.
"""
