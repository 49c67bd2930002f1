"""The errors of this package."""


class ServiceError(Exception):
    """Something the person at the keyboard has to mend; the message says what and how."""


class NoAnswerError(ServiceError):
    """A server was asked and said nothing in time."""
