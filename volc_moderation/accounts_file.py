"""The file that lists accounts: where it is, how it is read, and what it must not be."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from volc_moderation.account_table import AccountTable
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError
from volc_moderation.vendors import VENDORS

#: The variable that names the accounts file.
ACCOUNTS_VARIABLE = "VOLC_MODERATION_ACCOUNTS"
#: Far more than the settings of ten thousand accounts have.
MAX_FILE_BYTES = 2**22


def path_of(path: str | os.PathLike[str] | None) -> Path:
    """Return the path of the accounts file: the one given, else that of the environment.

    Raises ``ConfigurationError`` if there is neither.
    """
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


def vendor_in(table: AccountTable) -> str:
    """Return the name of the vendor of an account. Raises ``ConfigurationError``."""
    vendor = table.required_text("vendor")
    if vendor not in VENDORS:
        raise table.error("vendor", f"must be one of {', '.join(VENDORS)}")
    return vendor


def check_private(file: Path, setting: str) -> None:
    """Raise ``ConfigurationError`` if other users can read a file that contains keys. Windows does not say."""
    if os.name != "posix":
        return
    status = file.stat()
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            f"the accounts file {file} contains a key ({setting}), and other users can read it: chmod 600 {file}, or"
            ' use { env = "NAME" } or { command = […] } instead of the key'
        )


def check_distinct(file: Path, clients: Mapping[str, Client]) -> None:
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
