"""Many accounts: clients for those that an accounts file lists. They share one HTTP client and one store of quotas."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from volc_moderation.account_table import AccountTable, MissingKeyError
from volc_moderation.accounts_file import check_distinct, check_private, path_of, read_tables, vendor_in
from volc_moderation.call_options import ClientOptions
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError
from volc_moderation.http_clients import AsyncHTTPClient, fastest_http_client
from volc_moderation.quotas.environment import quotas_from_env
from volc_moderation.quotas.permit import Quotas
from volc_moderation.vendors import VENDORS

__all__ = ["Accounts", "load"]

C = TypeVar("C", bound=Client)


class _Closable(Protocol):
    """What is closed with the clients."""

    async def aclose(self) -> None:
        """Close it."""


class Accounts(Mapping[str, Client]):
    """The clients of an accounts file, by the names of the accounts: ``async with accounts.load("accounts.toml")``.

    ``load`` creates it.
    """

    def __init__(
        self, clients: Mapping[str, Client], skipped: Mapping[str, ConfigurationError], *, owned: Sequence[_Closable]
    ) -> None:
        self._clients = dict(clients)
        #: The accounts that this process has no keys of, with what is missing.
        self.skipped = dict(skipped)
        self._owned = list(owned)

    def __getitem__(self, name: str) -> Client:
        return self._clients[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    def of(self, client_type: type[C]) -> dict[str, C]:
        """Return the clients of one vendor, by the names of the accounts: ``accounts.of(ZegoClient)["game-eu"]``."""
        return {name: client for name, client in self.items() if isinstance(client, client_type)}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the clients, and the HTTP client and the store of quotas unless they were given."""
        for client in self.values():
            await client.aclose()
        for owned in self._owned:
            await owned.aclose()


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    names: Collection[str] | None = None,
    quotas: Quotas | None = None,
    http_client: AsyncHTTPClient | None = None,
    skip_missing: bool = False,
) -> Accounts:
    """Create a client for each account of a file.

    :param path: of the file; None for that of ``VOLC_MODERATION_ACCOUNTS``.
    :param names: the accounts to use; None for all.
    :param quotas: the store of all of them; by default as ``VOLC_MODERATION_QUOTAS`` says.
    :param http_client: sends the requests of all of them; by default ``fastest_http_client()``.
    :param skip_missing: whether to leave out the accounts whose keys the environment of this process lacks.

    Raises ``ConfigurationError``, which names the file, the account and the rule.
    """
    try:
        return _load(path_of(path), names, quotas=quotas, http_client=http_client, skip_missing=skip_missing)
    except ConfigurationError as error:
        raise error.with_traceback(None) from None  # its frames hold what is in the file


def _load(
    file: Path,
    names: Collection[str] | None,
    *,
    quotas: Quotas | None,
    http_client: AsyncHTTPClient | None,
    skip_missing: bool,
) -> Accounts:
    tables = read_tables(file)
    for name in names or ():
        if name not in tables:
            raise ConfigurationError(f"{file}: there is no account {name}; there are {', '.join(tables) or 'none'}")
    clients: dict[str, Client] = {}
    skipped: dict[str, ConfigurationError] = {}
    exposed: list[str] = []
    owned: list[_Closable] = []
    if quotas is None:
        quotas = quotas_from_env()
        owned += [] if quotas is None else [quotas]
    if http_client is None:
        http_client = fastest_http_client()
        owned.append(http_client)
    for name, table in tables.items():
        if names is not None and name not in names:
            continue
        try:
            clients[name] = _create(table, quotas=quotas, http_client=http_client)
        except MissingKeyError as error:
            if not skip_missing:
                raise
            skipped[name] = error
            continue
        exposed += [f"accounts.{name}: {setting}" for setting in table.finish()]
    if exposed:
        check_private(file, exposed[0])
    check_distinct(file, clients)
    return Accounts(clients, skipped, owned=owned)


def _create(table: AccountTable, *, quotas: Quotas | None, http_client: AsyncHTTPClient) -> Client:
    """Create the client of an account. Raises ``ConfigurationError`` for what a table has too much or too little."""
    client_type = VENDORS[vendor_in(table)].client
    options = ClientOptions(quotas=quotas, http_client=http_client)
    base_url, limits = table.text("base_url"), table.limits()
    if base_url is not None:
        options["base_url"] = base_url
    try:
        client = client_type.from_account(table, **options)
        client.set_limits(limits or {})
    except MissingKeyError:
        raise
    except ConfigurationError as error:
        reason = error.message
    else:
        return client
    raise ConfigurationError(reason if reason.startswith(table.place) else f"{table.place}: {reason}")
