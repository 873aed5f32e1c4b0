"""What can go wrong with a lab, beyond wrong usage and a peer that is not in it (peerd.errors)."""

from peerd.errors import LocalError


class LabError(LocalError):
    """The lab cannot do what was asked: a daemon ended, does not answer, or is not in the state that it takes."""

    code = "lab"


class NoLabError(LocalError):
    """No lab is up in the directory."""

    code = "no_daemon"
    exit_code = 4
