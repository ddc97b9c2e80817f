"""Loads files of calls into a journal: all rows are checked, and either all are written or none."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator

import attrs

from volc_moderation.action import Action
from volc_moderation.bulk.rows import Rows
from volc_moderation.bulk.sources import read_source
from volc_moderation.errors import InvalidActionError, SourceError
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.vendors import vendor_of

CANCELLED = "interrupted; nothing was sent"


@attrs.define
class LoadProgress:
    """How far it is, and what it came to."""

    #: Rows that are calls.
    rows: int = 0
    bad: int = 0
    #: Calls that the journal did not have yet, and those that had ended and are made again.
    new: int = 0
    again: int = 0
    #: The journal has this very list already.
    is_known: bool = False
    #: Rows by action.
    actions: dict[str, int] = attrs.field(factory=dict)
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Read no more; nothing is written then."""
        self.is_cancelled = True

    def go_on(self) -> None:
        """Go on, unless it was cancelled. Raises ``SourceError``."""
        if self.is_cancelled:
            raise SourceError(CANCELLED)


def check(
    files: Iterable[str], rows: Rows, *, limit: int | None, on_bad_row: Callable[[str], None], loaded: LoadProgress
) -> Generator[tuple[int, Action[object]], None, None]:
    """Read files, and return the line and the action of each good row; ``on_bad_row`` is told of the others.

    Raises ``SourceError`` for a file that cannot be read.
    """
    for file in files:
        with contextlib.closing(read_source(file)) as source:
            rows.check(source)
            for line, row in source.rows:
                if loaded.rows == limit:
                    return
                loaded.go_on()
                try:
                    if isinstance(row, SourceError):
                        raise row
                    action = rows.make(row)
                except (SourceError, InvalidActionError) as error:
                    loaded.bad += 1
                    on_bad_row(f"{source.name}, line {line}: {error}")
                    continue
                loaded.rows += 1
                loaded.actions[action.name] = loaded.actions.get(action.name, 0) + 1
                yield line, action
    loaded.go_on()


def load(
    journal: Journal,
    actions: Generator[tuple[int, Action[object]], None, None],
    clients_of: Callable[[set[str]], Clients],
    *,
    skip_bad: bool,
    now: float,
    loaded: LoadProgress,
) -> None:
    """Write actions into a journal, within its transaction. Raises ``SourceError`` if there were bad rows.

    ``clients_of`` returns clients, given the vendors whose ones are needed.
    """
    numbers: dict[Lane, int] = {}
    clients: dict[str, Clients] = {}

    def jobs() -> Iterator[tuple[str, int, str, int | None]]:
        for line, action in actions:
            vendor = vendor_of(action).name
            if vendor not in clients:
                clients[vendor] = clients_of({vendor})
            lane = clients[vendor].lane_of(action)
            if lane not in numbers:
                numbers[lane] = journal.lane(lane)
            yield key_of(lane, action), numbers[lane], dump_action(action), line

    with contextlib.closing(actions):  # and with them the file, if this fails
        listed = journal.load(jobs(), due=now, now=now)
    loaded.new, loaded.again, loaded.is_known = listed.new, listed.again, listed.is_known
    if loaded.bad and not skip_bad:
        raise SourceError("nothing was sent. Mend the rows, or leave them out with --skip-bad")
    if not loaded.rows:
        raise SourceError("there is not one call in it; nothing was sent")
