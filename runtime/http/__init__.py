"""HTTP/1.1 in a loop of greenlets: for gunicorn's workers, and for the consumer's health port.

``server.py``      listens, ends what takes too long, makes room for those who come, drains
``shares.py``      how many connections each of several processes has, so that each has its share
``connection.py``  one client: its requests in order, one answer after the other
``parsing.py``     bytes to requests, by httptools (llhttp, in C), with limits; what cannot be read is refused
``request.py``     a whole request, its body included
``reply.py``       a whole answer
``wsgi.py``        a WSGI application in threads: Django's pages; streams what is large
``environ.py``     a request as that application gets it

An application is called with each request in the loop's hub: it must not wait there. It ends in
``request.answer``, at once, or later from a greenlet or a callback of the loop. So a claim needs no greenlet
of its own: it costs two callbacks, one when it came and one when its batch is done.

What is refused before the application sees it: heads above 16 kB or 100 fields, requests that do not come in
time, bodies above what the application says of the route, what a proxy could read otherwise (two lengths, odd
codings, bare line feeds, folded fields). Each refusal is the application's own (``Application.refusal``).
"""
