"""The accounts of an accounts file, as ``accounts.load()`` reads it."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from volc_moderation import accounts
from volc_moderation.account_table import AccountTable, MissingKeyError
from volc_moderation.accounts_file import read_tables, vendor_in
from volc_moderation.client import Client
from volc_moderation.doctor.accounts import BASE_URLS, Account, Keys, keys_of
from volc_moderation.errors import ConfigurationError
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas.permit import Quotas
from volc_moderation.renewed_keys import NotConfiguredError
from volc_moderation.volcengine.credentials.from_table import provider_of


def file_accounts(file: Path, names: Sequence[str] = ()) -> list[Account]:
    """Return the accounts of a file: those with these names, or all.

    Raises ``ConfigurationError`` if the file cannot be read, or has no such account.
    """
    tables = read_tables(file)
    for name in names:
        if name not in tables:
            raise ConfigurationError(f"{file}: there is no account {name}; there are {', '.join(tables)}")
    return [_account(file, name, tables[name]) for name in dict.fromkeys(names or tables)]


def _account(file: Path, name: str, table: AccountTable) -> Account:
    vendor = vendor_in(table)

    def open_client(quotas: Quotas, http_client: AsyncHTTPClient) -> Client:
        return accounts.load(file, names=[name], quotas=quotas, http_client=http_client)[name]

    return Account(
        name=name,
        vendor=vendor,
        base_url=table.text("base_url") or BASE_URLS.get(vendor, ""),
        find_keys=partial(_FIND_KEYS.get(vendor, _no_keys), table),
        open_client=open_client,
    )


async def _volcengine_keys(table: AccountTable) -> Keys:
    try:
        provider = provider_of(table, clock=time.time)
    except MissingKeyError as error:
        raise NotConfiguredError(str(error)) from None
    is_described = table.has("credentials")
    return await keys_of(provider, None if is_described else _source(table))


async def _zego_keys(table: AccountTable) -> Keys:
    app_id = table.required_number("app_id")
    try:
        secret = table.key("server_secret")
    except MissingKeyError as error:
        raise NotConfiguredError(str(error)) from None
    source = _source(table)
    if not isinstance(secret, str):
        source = f"a command in {table.place}"
        await secret()
    return Keys(source=source, shown=f"AppId {app_id}")


async def _no_keys(table: AccountTable) -> Keys:
    raise NotConfiguredError(f"{table.place}: nothing is known about how to check this vendor")


def _source(table: AccountTable) -> str:
    """Return where the keys of a table come from that have been read."""
    return table.place if table.exposed else f"environment variables that {table.place} names"


_FIND_KEYS = {"volcengine": _volcengine_keys, "zego": _zego_keys}
