"""Loads files of calls into a journal. All rows are checked first, and either all calls are written or none."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import attrs

from volc_moderation.action import Action
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.bulk.rows import BadRowError, Source
from volc_moderation.bulk.sources import open_source
from volc_moderation.errors import InvalidActionError, SourceError
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import LoadResult
from volc_moderation.vendors import vendor_of

#: The message of the ``SourceError`` after ``LoadProgress.cancel``.
CANCELLED_MESSAGE = "interrupted; nothing was sent"


class FileCall(NamedTuple):
    """A call of a file."""

    #: The line or the row of the file.
    line: int
    action: Action[Any]
    #: The name of the account that makes it; None if there is no accounts file.
    account: str | None = None


@attrs.define
class LoadProgress:
    """How many rows were read so far, and, at the end, what the journal made of them."""

    good_rows: int = 0
    bad_rows: int = 0
    #: Good rows by the name of their action.
    rows_by_action: dict[str, int] = attrs.field(factory=dict)
    #: Calls that the journal did not have.
    added_jobs: int = 0
    #: Calls that had ended in the journal and are repeated.
    reopened_jobs: int = 0
    #: Whether the journal has this very list of calls already.
    is_known_list: bool = False
    is_cancelled: bool = False
    #: The file that is being read, ``-`` for standard input; None before the first one.
    file: str | None = None
    #: The bytes of all files; None if that is unknown.
    total_bytes: int | None = None
    #: The number of good rows after which reading ends.
    limit: int | None = None
    #: Returns the bytes that have been read.
    bytes_read: Callable[[], int] = lambda: 0

    def estimated_rows(self) -> dict[str, int]:
        """Return the number of good rows of each action that the files have, judging from what has been read.

        It is empty if the size of the files, or what has been read of them, is unknown.
        """
        rows = dict(self.rows_by_action)
        if self.total_bytes is None or not rows:
            return {}
        read = self.bytes_read()
        if not read:
            return {}
        factor = max(1.0, self.total_bytes / read)
        if self.limit is not None:
            factor = min(factor, self.limit / sum(rows.values()))
        return {name: _two_digits(count * factor) for name, count in rows.items()}

    def cancel(self) -> None:
        """Stop reading at the next row. Nothing is written."""
        self.is_cancelled = True

    def raise_if_cancelled(self) -> None:
        """Raise ``SourceError`` after ``cancel``."""
        if self.is_cancelled:
            raise SourceError(CANCELLED_MESSAGE)


def _two_digits(number: float) -> int:
    """Return a number whose digits are zeros after the first two: it is not known any better."""
    whole = int(number)
    return round(whole, 2 - len(str(whole)))


def read_actions(
    files: Iterable[str],
    parser: RowParser,
    *,
    limit: int | None,
    on_bad_row: Callable[[str], None],
    progress: LoadProgress,
) -> Generator[FileCall, None, None]:
    """Yield the call of each good row. Report each bad row to ``on_bad_row`` and skip it.

    ``limit`` is the number of good rows after which reading ends. Raises ``SourceError`` for a file that cannot be read
    to its end.
    """
    read_before = 0
    for file in files:
        progress.file = file
        with contextlib.closing(open_source(file)) as source:
            progress.bytes_read = partial(_position, read_before, source)
            parser.check_columns(source)
            for line, row in source.rows:
                if progress.good_rows == limit:
                    return
                progress.raise_if_cancelled()
                try:
                    if isinstance(row, BadRowError):
                        raise row
                    action = parser.parse(row)
                    account = parser.account_of(row, action)
                except (SourceError, InvalidActionError) as error:
                    progress.bad_rows += 1
                    on_bad_row(f"{source.name}, line {line}: {error}")
                    continue
                progress.good_rows += 1
                progress.rows_by_action[action.name] = progress.rows_by_action.get(action.name, 0) + 1
                yield FileCall(line, action, account)
            read_before += source.position()
    progress.raise_if_cancelled()


def _position(read_before: int, source: Source) -> int:
    return read_before + source.position()


def load_actions(
    journal: Journal,
    calls: Generator[FileCall, None, None],
    clients_of: Callable[[str, str | None], Clients],
    *,
    skip_bad_rows: bool,
    now: float,
    progress: LoadProgress,
) -> None:
    """Write calls into a journal, within its transaction.

    :param clients_of: returns the clients of a vendor, by its name, and of an account, unless that is None. It raises
        if there is none.

    Raises ``SourceError``, and the transaction must be rolled back, if there is no call or if there were bad rows,
    unless ``skip_bad_rows`` is set.
    """
    with contextlib.closing(calls):  # this closes the file as well if something fails
        loaded = load_jobs(journal, calls, clients_of, now=now)
    progress.added_jobs, progress.reopened_jobs, progress.is_known_list = loaded.new, loaded.again, loaded.is_known
    check_loaded(progress, skip_bad_rows=skip_bad_rows)


def load_jobs(
    journal: Journal,
    calls: Iterable[FileCall],
    clients_of: Callable[[str, str | None], Clients],
    *,
    now: float,
    is_run: bool = True,
) -> LoadResult:
    """Write calls into a journal, within its transaction.

    :param clients_of: as for ``load_actions``.
    :param is_run: whether the same list adds nothing when it is loaded again.
    """
    lane_ids: dict[Lane, int] = {}
    clients: dict[tuple[str, str | None], Clients] = {}

    def jobs() -> Iterator[tuple[str, int, str, int | None]]:
        for line, action, account in calls:
            owner = vendor_of(action).name, account
            if owner not in clients:
                clients[owner] = clients_of(*owner)
            lane, completed = clients[owner].complete(action)
            if lane not in lane_ids:
                lane_ids[lane] = journal.lane_id(lane)
            yield key_of(lane, completed), lane_ids[lane], dump_action(completed), line

    return journal.load(jobs(), due=now, now=now, is_run=is_run)


def check_loaded(progress: LoadProgress, *, skip_bad_rows: bool) -> None:
    """Raise ``SourceError`` if there is no call, or if there were bad rows, unless ``skip_bad_rows`` is set."""
    if progress.bad_rows and not skip_bad_rows:
        rows, them = ("row", "it") if progress.bad_rows == 1 else ("rows", "them")
        raise SourceError(f"nothing was sent. Fix the bad {rows}, or skip {them} with --skip-bad")
    if not progress.good_rows:
        raise SourceError("the files contain no calls; nothing was sent")
