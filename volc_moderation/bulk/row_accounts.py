"""Which account makes the call of a row: the column ``account``."""

import difflib
from collections.abc import Mapping
from typing import Any

from volc_moderation.action import Action
from volc_moderation.bulk.rows import Row, quoted
from volc_moderation.errors import SourceError
from volc_moderation.vendors import vendor_of

#: The column that names the account of a row.
ACCOUNT = "account"


class RowAccounts:
    """The accounts that rows may name.

    :param vendors: the vendor of each account, by its name.
    :param default: the account of rows that name none; None if there is none.

    Raises ``SourceError`` if there is no such account.
    """

    def __init__(self, vendors: Mapping[str, str], *, default: str | None = None) -> None:
        self._vendors = vendors
        self._default = default
        if default is not None:
            self._check(default)

    def account_of(self, row: Row, constants: Mapping[str, str], action: Action[Any]) -> str:
        """Return the account of a row. Raises ``SourceError`` if the row is bad."""
        name = row.get(ACCOUNT) or constants.get(ACCOUNT) or self._default
        vendor = vendor_of(action).name
        if name is None:
            return self._only_one_of(vendor)
        if not isinstance(name, str):
            raise SourceError("account must be a text")
        self._check(name)
        if self._vendors[name] != vendor:
            raise SourceError(f"the account {name} is one of {self._vendors[name]}, and {action.name} one of {vendor}")
        return name

    def _check(self, name: str) -> None:
        if name not in self._vendors:
            near = difflib.get_close_matches(name, self._vendors, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SourceError(f"there is no account {quoted(name)} in the accounts file{hint}")

    def _only_one_of(self, vendor: str) -> str:
        names = [name for name, its_vendor in self._vendors.items() if its_vendor == vendor]
        if len(names) != 1:
            several = f"has {len(names)} accounts of {vendor}: add a column {ACCOUNT!r}, or give --account"
            raise SourceError(f"the accounts file {several if names else f'has no account of {vendor}'}")
        return names[0]
