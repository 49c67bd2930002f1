"""Sorts the database's errors: wait, isolate the event, or have an operator mend schema or rights."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from django.db import InterfaceError, NotSupportedError, ProgrammingError
from django.db.utils import Error


class Kind(Enum):
    """What to do about an error of the database."""

    #: The database is away, busy, read-only or full: the same batch again, in place and in order.
    TRANSIENT = auto()
    #: Schema or rights are wrong: the same batch again too, logged as an error, until an operator mends them.
    OURS = auto()
    #: The database can never store this event.
    OF_THE_EVENT = auto()


#: The numbers of MySQL and MariaDB; 2000 to 2999 are the client library's, about the connection.
#: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
#: https://mariadb.com/docs/server/reference/error-codes
# fmt: off
_TRANSIENT: Final = frozenset({
    # storage and memory, short of or damaged
    1015, 1020, 1021, 1023, 1026, 1028, 1030, 1034, 1035, 1037, 1038, 1041, 1105, 1114, 1180, 1181,
    1194, 1195, 1712, 1814, 1815,
    # too many connections, or refused for now; 9001 is ProxySQL's
    1040, 1042, 1043, 1129, 1130, 1135, 1203, 1226, 1461, 9001,
    # ended, killed, cut
    1053, 1077, 1152, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 1928, 4031,
    # locks
    1036, 1205, 1206, 1213, 1223, 1613, 1614, 1637, 1689, 3058, 3132, 3572,
    # read-only, a cluster that changes
    1047, 1156, 1290, 1792, 1836, 3032, 3100, 3101, 3168, 3169,
    # a table that changes, a statement that took too long
    1412, 1969, 3024, 4041,
})
_OURS: Final = frozenset({
    # rights
    1044, 1045, 1142, 1143, 1227, 1370, 1698, 3118,
    # schema
    1046, 1049, 1051, 1054, 1060, 1064, 1109, 1136, 1146, 1176, 1305, 1364, 1467, 1932,
})
# fmt: on
#: The client library's: no connection, or a lost one. Not TLS that fails (2026): the server is there.
_NO_CONNECTION: Final = frozenset({2002, 2003, 2005, 2006, 2012, 2013, 2055})
#: SQLite has no numbers here. https://www.sqlite.org/rescode.html
_SQLITE_TRANSIENT: Final = (
    "locked",
    "busy",
    "readonly",
    "disk i/o",
    "disk is full",
    "unable to open",
    "interrupted",
)
_SQLITE_OURS: Final = ("no such table", "no such column", "has no column named", "syntax error")


def kind_of(error: Error) -> Kind:
    """The kind of an error, by the server's number, SQLite's words, or the error's class.

    An unknown error is of the event: if it counted as transient, a batch might be tried again for ever.
    """
    code = error.args[0] if error.args else None
    if not isinstance(code, int):
        return _sqlite_kind_of(error)
    if code in _TRANSIENT or 2000 <= code < 3000 or isinstance(error, InterfaceError):
        return Kind.TRANSIENT
    if code in _OURS or isinstance(error, ProgrammingError | NotSupportedError):
        return Kind.OURS
    return Kind.OF_THE_EVENT


def is_unreachable(error: Error) -> bool:
    """Whether no server of MySQL or MariaDB answered, not even with an error of its own."""
    return bool(error.args) and error.args[0] in _NO_CONNECTION


def _sqlite_kind_of(error: Error) -> Kind:
    text = str(error).lower()
    if not text or isinstance(error, InterfaceError) or any(sign in text for sign in _SQLITE_TRANSIENT):
        return Kind.TRANSIENT
    if any(sign in text for sign in _SQLITE_OURS) or isinstance(error, ProgrammingError | NotSupportedError):
        return Kind.OURS
    return Kind.OF_THE_EVENT
