"""A whole request: its head and its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.http.reply import Reply

if TYPE_CHECKING:
    from runtime.http.connection import Connection


class Request:
    """``target``: as the client wrote it, percent signs and query included; ASCII.

    ``headers``: by name in lower case. A name that came several times has its values joined by commas, and a
    name with an underscore is dropped: WSGI could not tell it from the one with a dash.
    ``is_too_long``: the body is longer than the application said; what is there of it is dropped.
    ``answer_fields``: header lines, each with its line end, that go with the answer, whatever it is.
    """

    __slots__ = (
        "answer_fields",
        "body",
        "connection",
        "headers",
        "is_too_long",
        "keeps",
        "method",
        "target",
        "version",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: bytes,
        version: str,
        headers: dict[bytes, bytes],
        *,
        keeps: bool,
    ) -> None:
        self.connection: Final = connection
        self.method: Final = method
        self.target: Final = target
        self.version: Final = version
        self.keeps = keeps  #: the client wants to keep its connection
        self.headers: Final = headers
        self.body = b""
        self.is_too_long = False
        self.answer_fields = b""

    def header(self, name: bytes) -> str | None:
        """The value of this header, whose name is given in lower case; None without one."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin1")

    @property
    def path(self) -> str:
        """The target without query and fragment, and without the host of the form for proxies. Encoded."""
        target = self.target
        if not target.startswith(b"/") and b"://" in target:
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        return target.partition(b"#")[0].partition(b"?")[0].decode("latin1")

    @property
    def query(self) -> str:
        return self.target.partition(b"#")[0].partition(b"?")[2].decode("latin1")

    @property
    def is_secure(self) -> bool:
        """Whether the proxy in front, if we trust it, says that its client came by TLS."""
        return self.connection.is_trusted and self.header(b"x-forwarded-proto") == "https"

    @property
    def host(self) -> str:
        """The host that the request asks for; without a Host (HTTP/1.0), the address that it came to."""
        return self.header(b"host") or "{}:{}".format(*self.connection.address)

    def answer(self, reply: Reply) -> None:
        """End the request, once. In the loop, or in its hub; a client that is gone is no error."""
        self.connection.answer(self, reply)
