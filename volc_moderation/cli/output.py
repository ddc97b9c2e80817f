"""Files that a run writes. They may hold ids and texts of users, so only their owner can read a new one."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from volc_moderation import JournalError, SourceError
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.terminal import Terminal, stderr, stdout
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.printable import printable_json

#: The name of standard output.
STDOUT = Path("-")

#: The type of an option in a command's signature: a file, or - for standard output.
OutputFile = Annotated[Path, Parameter(allow_leading_hyphen=True)]

#: Makes ``os.open`` fail for a pipe without a reader; 0 on Windows, where no path names a pipe.
_NONBLOCKING = getattr(os, "O_NONBLOCK", 0)


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Iterable[Path] = (), *, journal: Path | None = None
) -> None:
    """Check that no output overwrites an input, the journal or another output. Raises ``SourceError``.

    :param outputs: by option; None if the option is not set.
    """
    used = {_identity(path): f"the input file {path}" for path in inputs}
    if journal is not None:
        for suffix in ("", "-wal", "-shm", "-lock", "-sock"):
            used[_identity(journal.with_name(f"{journal.name}{suffix}"))] = f"the journal {journal}"
    for option, path in outputs.items():
        if path is None or (path == STDOUT and option == "--output"):
            continue
        if path != STDOUT and str(path).startswith("-"):
            raise SourceError(f"{option} needs a file; for one that is called {path}, give its whole path")
        if path == STDOUT:
            raise SourceError(f"{option} must be a file, not standard output")
        if _identity(path) in used:
            raise SourceError(f"{option} {path} would overwrite {used[_identity(path)]}")
        if not _is_device(path):
            used[_identity(path)] = f"the file of {option}"


def _identity(path: Path) -> object:
    """Return a value that is the same for all names of a file."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _is_device(path: Path) -> bool:
    """Return whether a path is a device, a pipe or a directory. Opening a device or a pipe may have an effect."""
    return path.exists() and not path.is_file()


def table_console(output: Path | None) -> Terminal:
    """Return the console for a table: standard error if ``--output`` has standard output for itself."""
    return stderr() if output == STDOUT else stdout()


def create_private(path: Path) -> None:
    """Create a file that only its owner can read, or check that an existing one is writable. Raises ``SourceError``."""
    if path == STDOUT or (_is_device(path) and not path.is_dir()):
        return
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from None


class StandardOutputError(JournalError):
    """Standard output cannot be written: its reader has gone, or its disk is full."""


class Output:
    """The file of ``--output``, or standard output: JSON Lines, one for each job that has ended.

    :param journal: the journal that has the results, too; None if it is temporary.

    Raises ``SourceError`` if it cannot be opened for writing.
    """

    def __init__(self, path: Path | None, *, journal: Path | None) -> None:
        self._path = path
        self._journal = journal
        self._file: int | None = None
        #: Written before the first line: a line feed if a crash or a full disk has torn the last line of the file.
        self._prefix = b""
        #: Why writing failed; None if it did not.
        self.error: JournalError | None = None
        if path is None:
            return
        if path == STDOUT:
            self._file = os.dup(sys.stdout.fileno())
            return
        create_private(path)
        try:
            if path.is_file():
                self._prefix = _missing_line_end(path)
            # A pipe without a reader is an error: waiting for one would block the event loop.
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NONBLOCKING, 0o600)
            if _NONBLOCKING:
                os.set_blocking(self._file, True)
        except OSError as error:
            raise SourceError(f"{path} cannot be written: {error.strerror}") from None

    def on_event(self, event: JobEvent) -> bool:
        """Write the job if it has ended. Return whether all writes have succeeded so far."""
        if self._file is None or self.error is not None or not event.state.has_ended:
            return self.error is None
        fields = {name: getattr(event, name) for name in ("line", "key", "action", "parameters", "attempts")}
        fields["state"] = event.state.value
        for name in ("maybe_sent", "was_gone", "code", "message", "advice", "request_id", "result"):
            if getattr(event, name):
                fields[name] = getattr(event, name)
        try:
            self._write(self._file, self._prefix + printable_json(fields).encode() + b"\n")
        except OSError as error:
            is_stdout = self._path == STDOUT
            message = f"{'standard output' if is_stdout else self._path} cannot be written: {error.strerror}."
            if self._journal is not None:
                message += f" The journal has all results: {command_line('jobs', self._journal, '--export')}"
            self.error = (StandardOutputError if is_stdout else JournalError)(message)
        self._prefix = b""
        return self.error is None

    def _write(self, file: int, line: bytes) -> None:
        """Write the whole line, or nothing."""
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
            with contextlib.suppress(OSError):  # a failed write has been reported
                os.close(self._file)
            self._file = None


def _missing_line_end(path: Path) -> bytes:
    """Return a line feed if the last line of the file lacks one."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return b""
        file.seek(-1, os.SEEK_END)
        return b"" if file.read() == b"\n" else b"\n"
