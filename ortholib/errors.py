"""The two errors a user meets: bad data or a bad run (exit 1), and wrong usage (exit 2).

Every message names the file, the value, what was expected, and what to do next.
"""


class OrthoError(Exception):
    """The data or the run is bad; the command line exits with 1."""

    exit_code = 1


class UsageError(OrthoError):
    """The command, a parameter or a name is wrong; the command line exits with 2."""

    exit_code = 2
