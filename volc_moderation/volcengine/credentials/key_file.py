"""Reads the small files that keys come from."""

import os
import stat
from pathlib import Path

from volc_moderation.errors import ConfigurationError

#: Far more than any token or configuration has.
MAX_FILE_BYTES = 2**20


def read_key_file(path: Path, what: str, *, must_be_ours: bool = False) -> str:
    """Return the text of a file.

    :param what: what the file is, for errors.
    :param must_be_ours: whether a file that other users may write is refused.

    Raises ``ConfigurationError``, which names the file, and never shows what is in it.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"{what} {path} is not a regular file")
            if must_be_ours and _others_may_write(status):
                raise ConfigurationError(
                    f"other users may write {what} {path}, and so choose the keys: chown it to you, and chmod it to 600"
                )
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise ConfigurationError(f"{what} {path} cannot be read: {reason}") from None
    if len(content) > MAX_FILE_BYTES:
        reason = f"{what} {path} has more than {MAX_FILE_BYTES:,} bytes"
    else:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            reason = f"{what} {path} is not in UTF-8"
    del content  # of this frame, which the traceback shows
    raise ConfigurationError(reason)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file. A named pipe would block the event loop until somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _others_may_write(status: os.stat_result) -> bool:
    """Return whether a user other than this one and root may write a file. On Windows, its mode does not say so."""
    if os.name != "posix":
        return False
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)) or status.st_uid not in {0, os.geteuid()}
