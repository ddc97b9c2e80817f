"""Many accounts: clients for those that an accounts file lists. They share one HTTP client and one store of quotas."""

import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from volc_moderation.account_table import AccountTable, MissingKeyError
from volc_moderation.call_options import ClientOptions
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError
from volc_moderation.http_clients import AsyncHTTPClient, fastest_http_client
from volc_moderation.quotas.environment import quotas_from_env
from volc_moderation.quotas.permit import Quotas
from volc_moderation.vendors import VENDORS

C = TypeVar("C", bound=Client)


#: The variable that names the accounts file.
ACCOUNTS_VARIABLE = "VOLC_MODERATION_ACCOUNTS"
#: Far more than the settings of ten thousand accounts have.
MAX_FILE_BYTES = 2**22


class Closable(Protocol):
    """What is closed with the clients."""

    async def aclose(self) -> None:
        """Close it."""


class Accounts(Mapping[str, Client]):
    """The clients of an accounts file, by the names of the accounts: ``async with accounts.load("accounts.toml")``.

    ``load`` creates it.
    """

    def __init__(
        self, clients: Mapping[str, Client], skipped: Mapping[str, ConfigurationError], *, owned: Sequence[Closable]
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
    file = _path_of(path)
    tables = read_tables(file)
    for name in names or ():
        if name not in tables:
            raise ConfigurationError(f"{file}: there is no account {name}; there are {', '.join(tables) or 'none'}")
    clients: dict[str, Client] = {}
    skipped: dict[str, ConfigurationError] = {}
    exposed: list[str] = []
    owned: list[Closable] = []
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
        _check_private(file, exposed[0])
    _check_distinct(file, clients)
    return Accounts(clients, skipped, owned=owned)


def _path_of(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        path = os.environ.get(ACCOUNTS_VARIABLE)
        if not path:
            raise ConfigurationError(f"give the path of the accounts file, or set {ACCOUNTS_VARIABLE}")
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError):
        reason = "path must be the path of the accounts file"
    raise ConfigurationError(reason)


def read_tables(file: Path) -> dict[str, AccountTable]:
    """Return the tables of an accounts file, by the names of the accounts. Raises ``ConfigurationError``."""
    try:
        content = _read(file)
        document = tomllib.loads(content.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        # Only the place: what stands there may be a key.
        place = _PLACE.search(str(error))
        reason = f"it is not TOML{f': see line {place[1]}' if place else ''}"
    except (UnicodeDecodeError, RecursionError):
        reason = "it is not TOML in UTF-8"
    else:
        accounts = document.pop("accounts", None)
        if document:
            reason = f"{next(iter(document))} is no table of it; accounts are [accounts.NAME]"
        elif not isinstance(accounts, dict) or not accounts:
            reason = "it has no account: add [accounts.NAME]"
        else:
            return {name: _table_of(file, name, values) for name, values in accounts.items()}
    raise ConfigurationError(f"the accounts file {file}: {reason}")


_PLACE = re.compile(r"at line (\d+)")


def _read(file: Path) -> bytes:
    try:
        with open(file, "rb", opener=_open_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ConfigurationError(f"the accounts file {file} is not a regular file")
            content = opened.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise ConfigurationError(f"the accounts file {file} cannot be read: {reason}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"the accounts file {file} has more than {MAX_FILE_BYTES:,} bytes")
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open a file. A named pipe would block until somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _table_of(file: Path, name: str, values: object) -> AccountTable:
    place = f"{file}: accounts.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{file}: the name of an account must be up to 64 letters, digits, -, _ and .")
    if not isinstance(values, dict):
        raise ConfigurationError(f"{place} must be a table: [accounts.{name}]")
    return AccountTable(place, values, environ=os.environ)


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def vendor_of(table: AccountTable) -> str:
    """Return the vendor of an account. Raises ``ConfigurationError``."""
    vendor = table.required_text("vendor")
    if vendor not in VENDORS:
        raise table.error("vendor", f"must be one of {', '.join(VENDORS)}")
    return vendor


def _create(table: AccountTable, *, quotas: Quotas | None, http_client: AsyncHTTPClient) -> Client:
    """Create the client of an account. Raises ``ConfigurationError`` for what a table has too much or too little."""
    client_type = VENDORS[vendor_of(table)].client
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


def _check_private(file: Path, setting: str) -> None:
    """Raise ``ConfigurationError`` if other users can read a file that contains keys. Windows does not say."""
    if os.name != "posix":
        return
    status = file.stat()
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            f"the accounts file {file} contains a key ({setting}), and other users can read it: chmod 600 {file}, or"
            ' use { env = "NAME" } or { command = […] } instead of the key'
        )


def _check_distinct(file: Path, clients: Mapping[str, Client]) -> None:
    """Raise ``ConfigurationError`` if two accounts are the same one, as far as that is known."""
    names: dict[tuple[str, str], str] = {}
    for name, client in clients.items():
        try:
            key = client.vendor, client.account
        except ConfigurationError:  # it comes with the keys
            continue
        if key in names:
            raise ConfigurationError(
                f"{file}: accounts.{names[key]} and accounts.{name} are the same account: keep one"
            )
        names[key] = name
