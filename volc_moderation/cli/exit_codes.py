"""The exit codes of the commands."""

import enum


class ExitCode(enum.IntEnum):
    """How a command ended. Scripts rely on the numbers."""

    #: Everything is done.
    SUCCESS = 0
    #: The vendor refused the call or cannot be reached. Or a run cannot continue: its journal, queue, output or Redis
    #: fails, or every call fails for a reason such as an untrusted certificate.
    FAILURE = 1
    #: Bad usage, a bad input file or an unreadable journal; also missing credentials of ``call``, and a ``demo`` that
    #: fails.
    USAGE = 2
    #: The credentials are missing or refused. ``call`` uses 2 and 1 for these.
    CREDENTIALS = 3
    #: Some jobs failed or were given up.
    SOME_FAILED = 10
    #: Some jobs are deferred or were not sent.
    SOME_DEFERRED = 11
    #: Standard output cannot be written, whatever the command did: EX_IOERR of sysexits.h.
    OUTPUT_FAILED = 74
    #: A signal ended the command before it was done: 128 + SIGINT, as shells report it.
    INTERRUPTED = 130
