"""The worker that ships, with the site straight in its loop: neither gathering nor threads around it."""

from __future__ import annotations

from gunicorn.workers.ggevent import GeventWorker

from couponsite.gunicorn_worker import LoopWorker


class PlainWorker(LoopWorker):
    def load_wsgi(self) -> None:
        GeventWorker.load_wsgi(self)
