"""What to do about columns that are no field of an action: rename them, or leave them out."""

import difflib
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence

from volc_moderation.bulk.rows import MAX_QUOTED_CHARACTERS, quoted

#: Characters of the unknown columns, or of the fields of an action, that a message lists.
MAX_LISTED_CHARACTERS = 120


def suggestions(columns: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """Return the fields for which columns may be meant, by column. Each field is suggested once."""
    remaining, found = set(fields), {}
    for column in columns:
        similar = similar_name(column, sorted(remaining))
        if similar is not None:
            remaining.remove(similar)
            found[column] = similar
    return found


def described(columns: Iterable[str], suggested: Mapping[str, str]) -> str:
    """Return the names of columns, each with the field that is suggested for it."""
    return listed(
        [quoted(name) + (f" (did you mean {suggested[name]}?)" if name in suggested else "") for name in columns]
    )


def how_to_ignore(columns: Collection[str]) -> str:
    """Return the option that leaves out columns, for the shell; ``all`` if they cannot be listed."""
    can_be_listed = all(column and "," not in column and column == column.strip() for column in columns)
    value = ",".join(columns)
    if not can_be_listed or len(value) > MAX_QUOTED_CHARACTERS or not value.isprintable():
        value = "all"
    return f"--ignore-columns {shlex.quote(value)}"


def similar_name(name: str, others: Iterable[str]) -> str | None:
    """Return the name that one may be a misspelling of, such as room_id of "Room ID"; None if there is none."""
    if len(name) > MAX_QUOTED_CHARACTERS:
        return None
    by_normal = {normalized(other): other for other in others if len(other) <= MAX_QUOTED_CHARACTERS}
    found = difflib.get_close_matches(normalized(name), by_normal, 1, cutoff=0.7)
    return by_normal[found[0]] if found else None


def listed(names: Sequence[str]) -> str:
    """Return names, separated by commas; of many, the first ones and how many there are besides."""
    shown: list[str] = []
    for name in names:
        if shown and sum(map(len, shown)) + len(name) > MAX_LISTED_CHARACTERS:
            return f"{', '.join(shown)} and {len(names) - len(shown):,} more"
        shown.append(name)
    return ", ".join(shown)


def normalized(name: str) -> str:
    """Return a name without blanks, underscores and hyphens, in lower case."""
    return re.sub(r"[\W_]+", "", name).lower()
