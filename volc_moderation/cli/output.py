"""Files that a run writes: readable by their owner only, since ids and texts of users may stand in them."""

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from volc_moderation import JournalError, SourceError
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.printable import json_text


def check_apart(written: Mapping[str, Path | None], read: Iterable[Path] = (), *, journal: Path | None = None) -> None:
    """See that nothing is written over what is read, or over the journal. Raises ``SourceError``."""
    taken = {_identity(path): f"{path} is a file of calls" for path in read}
    if journal is not None:
        for end in ("", "-wal", "-shm", "-lock"):
            taken[_identity(journal.with_name(f"{journal.name}{end}"))] = f"{journal} is the journal"
    for option, path in written.items():
        if path is None:
            continue
        if _identity(path) in taken:
            raise SourceError(f"{option} {path} would destroy something: {taken[_identity(path)]}")
        if not _is_device(path):
            taken[_identity(path)] = f"{path} is what {option} writes"


def _identity(path: Path) -> object:
    """Return what tells a file from all others, whatever it is called."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _is_device(path: Path) -> bool:
    """Tell whether a path is there, and is a device or a pipe: to open that may mean something."""
    return path.exists() and not path.is_file()


def make_private(path: Path) -> None:
    """Make a file if it is not there; see that it can be written. Raises ``SourceError``."""
    if _is_device(path) and not path.is_dir():
        return
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from None


class Output:
    """A file of JSON Lines: each job as it ends. Raises ``SourceError`` if it cannot be written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        #: What comes before the next line: the end of one that is torn.
        self._before = b""
        #: Why it cannot be written any more.
        self.fault: JournalError | None = None
        if path is None:
            return
        make_private(path)
        try:
            if path.is_file():
                self._before = _rest_of_line(path)
            # A pipe that nobody reads is a fault: to wait for a reader would keep everything else waiting.
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _AT_ONCE, 0o600)
            if _AT_ONCE:
                os.set_blocking(self._file, True)
        except OSError as error:
            raise SourceError(f"{path} cannot be written: {error.strerror}") from None

    def on_event(self, event: JobEvent) -> bool:
        """Write a job that has ended; return whether all could be written so far."""
        if self._file is None or self.fault is not None or not event.state.has_ended:
            return self.fault is None
        told = {name: getattr(event, name) for name in ("line", "key", "action", "parameters", "attempts")}
        told["state"] = event.state.value
        for name in ("maybe_sent", "was_gone", "code", "message", "advice", "request_id", "result"):
            if getattr(event, name):
                told[name] = getattr(event, name)
        try:
            self._write(self._file, self._before + json_text(told).encode() + b"\n")
        except OSError as error:
            self.fault = JournalError(
                f"{self._path} cannot be written: {error.strerror}. The journal has what it lacks:"
                " volc-moderation jobs … --export"
            )
        self._before = b""
        return self.fault is None

    def _write(self, file: int, line: bytes) -> None:
        """Write a whole line, or none of it."""
        written = 0
        try:
            while written < len(line):
                written += os.write(file, line[written:])
        except OSError:
            if written and stat.S_ISREG(os.fstat(file).st_mode):
                with contextlib.suppress(OSError):
                    os.truncate(file, os.fstat(file).st_size - written)
            raise

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it has been said
                os.close(self._file)
            self._file = None


#: Not on Windows, where no path names a pipe.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


def _rest_of_line(path: Path) -> bytes:
    """Return what ends the last line of a file, if a full disk or a crash has torn it."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return b""
        file.seek(-1, os.SEEK_END)
        return b"" if file.read() == b"\n" else b"\n"
