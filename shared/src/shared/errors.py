"""The two ways work can fail, because the bus must treat them differently."""


class Rejected(Exception):  # noqa: N818 - a verdict, not a malfunction
    """This input can never succeed: set it aside and go on.

    Raise it for a malformed event or a broken business rule.  Let every other exception
    (database down, broker unreachable, a bug) escape: those are retried, in order.

    The text goes to dead letters, logs and people: it names fields, ids of events and rules,
    never a personal value.

    Attributes:
        code: A short, stable word for metrics and dead letters, such as ``unknown-type``.
    """

    def __init__(self, reason: str, *, code: str = "invalid") -> None:
        super().__init__(reason)
        self.code = code
