"""Every error of peerd, on one screen; each class says who is at fault.

`code` is the stable name users' scripts see, `exit_code` the command line's status, `http_status` the API's
(INTERFACE.md). `hint` says what to do, where there is something to do.
"""


class PeerdError(Exception):
    """The root; never raised itself."""

    code = "failed"
    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


# They broke the rules: what came over the network is not what the protocol allows.
class RemoteError(PeerdError):
    """Another peer is at fault; it is counted and never shown to users as a failure of theirs."""


class WireError(RemoteError):
    """Bytes that are no message of the protocol; `reason` is a short constant for the counters."""

    code = "wire"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RefusedError(RemoteError):
    """A peer answered that it will not; `reason` is the protocol's error code."""

    code = "refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the peer refused: {reason}")
        self.reason = reason


class UnreachableError(RemoteError):
    """A peer did not answer in its time."""

    code = "unreachable"


# We or the user did.
class LocalError(PeerdError):
    """This host or its user is at fault."""


class UsageError(LocalError):
    """A wrong argument, key, option or setting."""

    code = "usage"
    exit_code = 2
    http_status = 400


class NotAuthorisedError(LocalError):
    """The caller may not do this."""

    code = "not_authorised"
    exit_code = 7
    http_status = 403


class RevokedError(NotAuthorisedError):
    """This peer's own key counts no more: it has nothing to start for."""


class NoRoomError(LocalError):
    """The quota or the disk is full."""

    code = "no_room"
    exit_code = 9
    http_status = 507


class StoreError(LocalError):
    """The disk failed: what was to be kept may not be."""

    code = "store"
    exit_code = 1
    http_status = 500


class DamagedError(StoreError):
    """What is here is not what was kept: it is as if it were not here, and never shown."""


# The overlay's answers.
class NotFoundError(PeerdError):
    """A majority of the key's holders said that there is nothing."""

    code = "not_found"
    exit_code = 3
    http_status = 404


class TimedOutError(PeerdError):
    """Not known in time, or no majority by the deadline."""

    code = "timeout"
    exit_code = 5
    http_status = 504


class TooFewCopiesError(PeerdError):
    """Stored, but on fewer copies than were asked for; `reached` is the answer as far as it came (a JSON object)."""

    code = "too_few_copies"
    exit_code = 6
    http_status = 503

    def __init__(self, message: str, *, reached: dict[str, object], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reached = reached


class IntegrityError(PeerdError):
    """What arrived is not what was asked for."""

    code = "integrity"
    exit_code = 8
    http_status = 502


class ConflictError(PeerdError):
    """A condition on the version did not hold."""

    code = "conflict"
    exit_code = 10
    http_status = 412
