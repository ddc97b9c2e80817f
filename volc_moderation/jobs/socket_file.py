"""Sockets that have a name in the file system: how one is listened at, and how one is connected to."""

import asyncio
import contextlib
import os
import socket
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

from volc_moderation.errors import JournalError

#: Bytes of the longest name that a socket can have; one more is the zero at its end (``sun_path``).
MAX_NAME_BYTES = 107 if sys.platform == "linux" else 103
#: Connections that wait to be accepted.
BACKLOG = 128

#: Whether this system and its event loops have sockets with names in the file system.
IS_SUPPORTED = hasattr(socket, "AF_UNIX") and hasattr(asyncio, "open_unix_connection")


def listen_at(file: Path) -> socket.socket:
    """Return a socket that listens at a file, which replaces an earlier one. Only its owner can connect to it.

    Raises ``JournalError`` if that is impossible.
    """
    listener = _new_socket(file)
    try:
        if file.is_socket():  # of an earlier process; anything else is the user's
            file.unlink()
        with _short_name(file) as name:
            listener.bind(name)
        file.chmod(0o600)  # before anybody can connect
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _error(file, error) from None
    except BaseException:
        listener.close()
        raise
    return listener


def connect_to(file: Path) -> socket.socket | None:
    """Return a socket that is connected to the one that listens at a file, or None if there is none.

    Raises ``TimeoutError`` if too many others wait to be accepted, and ``JournalError`` if this process can have no
    more sockets.
    """
    connection = _new_socket(file)
    try:
        with _short_name(file) as name:
            connection.connect(name)
    except BlockingIOError:
        connection.close()
        raise TimeoutError from None
    except (OSError, JournalError):
        connection.close()
        return None
    return connection


async def accept_at(listener: socket.socket) -> socket.socket:
    """Wait for the next connection. Raises ``OSError``."""
    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    _opened.add(connection)
    return connection


def _error(file: Path, error: OSError) -> JournalError:
    return JournalError(f"the socket {file} cannot be created: {error.strerror}")


def _new_socket(file: Path) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:  # too many open files
        raise _error(file, error) from None
    opened.setblocking(False)  # noqa: FBT003 - of the standard library
    _opened.add(opened)
    return opened


@contextlib.contextmanager
def _short_name(file: Path) -> Iterator[str]:
    """Yield a name of a file that is short enough for a socket."""
    names = [str(file)]
    with contextlib.suppress(ValueError, OSError):  # on another drive, or the working directory was removed
        names.append(os.path.relpath(file))
    for name in names:
        if len(os.fsencode(name)) <= MAX_NAME_BYTES:
            yield name
            return
    descriptors = Path("/proc/self/fd")
    if hasattr(os, "O_PATH") and descriptors.is_dir():
        folder = os.open(file.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            name = f"{descriptors}/{folder}/{file.name}"
            if len(os.fsencode(name)) <= MAX_NAME_BYTES:
                yield name
                return
        finally:
            os.close(folder)
    raise JournalError(f"the path of the socket {file} is too long; give the journal a shorter one")


# A child that is forked, and goes on without replacing its program, has the sockets of its parent, too. While it lived,
# nobody would notice the end of the parent.

_opened: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


def _close_in_child() -> None:
    for inherited in list(_opened):
        with contextlib.suppress(OSError):
            os.close(inherited.detach())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
