"""Files that a run writes: readable by their owner only, since ids and texts of users may stand in them."""

import contextlib
import os
from pathlib import Path
from typing import TextIO

from volc_moderation import JournalError, SourceError
from volc_moderation.jobs.event import JobEvent
from volc_moderation.printable import json_text


def make_private(path: Path) -> None:
    """Make a file if it is not there; see that it can be written. Raises ``SourceError``."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from None


class Output:
    """A file of JSON Lines: each job as it ends."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        #: Why it cannot be written any more.
        self.fault: JournalError | None = None
        if path is not None:
            make_private(path)
            self._file = path.open("a", encoding="utf-8", buffering=1)

    def tell(self, event: JobEvent) -> bool:
        """Write a job that has ended; return whether all could be written so far."""
        if self._file is None or self.fault is not None or not event.state.has_ended:
            return self.fault is None
        told = {name: getattr(event, name) for name in ("line", "key", "action", "parameters", "attempts")}
        told["state"] = event.state.value
        for name in ("maybe_sent", "was_gone", "code", "message", "advice", "request_id", "result"):
            if getattr(event, name):
                told[name] = getattr(event, name)
        try:
            self._file.write(json_text(told) + "\n")
        except OSError as error:
            self.fault = JournalError(f"{self._file.name} cannot be written: {error.strerror}")
        return self.fault is None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it has been said
                self._file.close()
