"""The settings of one account in an accounts file: each is read once, with its rule; what nobody reads is an error."""

import asyncio
import contextlib
import difflib
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from volc_moderation.errors import ConfigurationError

#: The time that a command may take that prints a key.
COMMAND_TIMEOUT = 30.0  # seconds
#: Far more than any key has.
MAX_OUTPUT_BYTES = 2**16

#: A key: its text, or what gets it whenever it may have changed.
Key: TypeAlias = str | Callable[[], Awaitable[str]]


class MissingKeyError(ConfigurationError):
    """The environment of this process lacks the key of an account."""


class AccountTable:
    """A table of an accounts file.

    Each method returns the value of a setting, or None if there is none. It raises ``ConfigurationError``, which names
    the file, the account, the setting and the rule, and never shows a value.

    :param place: the file and the account, for errors.
    :param values: the table as TOML has it.
    :param environ: the environment variables.
    """

    def __init__(self, place: str, values: Mapping[str, object], *, environ: Mapping[str, str]) -> None:
        #: Where the table is, for errors.
        self.place = place
        self._values = values
        self._environ = environ
        self._read: set[str] = set()
        self._tables: list[AccountTable] = []
        #: The settings that have a key as their value.
        self.exposed: list[str] = []

    def error(self, setting: str, rule: str) -> ConfigurationError:
        """Return the error that says what is wrong with a setting."""
        return ConfigurationError(f"{self.place}: {setting} {rule}")

    def has(self, setting: str) -> bool:
        """Return whether there is a setting."""
        return setting in self._values

    def text(self, setting: str) -> str | None:
        """Return a text, or that of the environment variable of ``{ env = "NAME" }``."""
        value = self._value(setting)
        if isinstance(value, dict):
            return self._variable(setting, value)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.error(setting, "must be a text that is not empty")
        return value

    def required_text(self, setting: str) -> str:
        """Return a text that must not be missing."""
        text = self.text(setting)
        if text is None:
            raise self.error(setting, "is missing")
        return text

    def number(self, setting: str) -> int | None:
        """Return a whole number, or that of an environment variable."""
        value = self._value(setting)
        if isinstance(value, dict):
            text = self._variable(setting, value)
            if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
                raise self.error(setting, "must be a whole number; that of its environment variable is none")
            return int(text)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self.error(setting, "must be a whole number")
        return value

    def required_number(self, setting: str) -> int:
        """Return a whole number that must not be missing."""
        number = self.number(setting)
        if number is None:
            raise self.error(setting, "is missing")
        return number

    def switch(self, setting: str) -> bool | None:
        """Return true or false."""
        value = self._value(setting)
        if value is not None and not isinstance(value, bool):
            raise self.error(setting, "must be true or false")
        return value

    def limits(self) -> dict[str, int] | None:
        """Return the table ``limits``: calls per window by the name of an action."""
        value = self._value("limits")
        if value is None:
            return None
        if not isinstance(value, dict) or not all(type(limit) is int and limit >= 1 for limit in value.values()):
            raise self.error("limits", "must be like { stop_webcast = 300 }, with numbers of at least 1")
        return value

    def key(self, setting: str) -> Key:
        """Return a key that must not be missing: a text, ``{ env = "NAME" }`` or ``{ command = ["PROGRAM", …] }``.

        Raises ``MissingKeyError`` if the environment variable is not set.
        """
        value = self._value(setting)
        if value is None:
            raise self.error(setting, "is missing")
        if isinstance(value, str) and value:
            self.exposed.append(setting)
            return value
        if isinstance(value, dict) and value.keys() == {"command"}:
            return self._command(f"{self.place}: {setting}", value["command"])
        if isinstance(value, dict) and value.keys() == {"env"}:
            return self._variable(setting, value)
        raise self.error(setting, 'must be a text, { env = "NAME" } or { command = ["PROGRAM", "ARGUMENT"] }')

    def fixed_key(self, setting: str) -> str:
        """Return a key as ``key`` does, which cannot be that of a command: a pair must be fetched as a whole."""
        key = self.key(setting)
        if not isinstance(key, str):
            raise self.error(
                setting, 'cannot come from a command: use credentials = { provider = "command", command = […] }'
            )
        return key

    def command(self) -> Callable[[], Awaitable[str]]:
        """Return what runs the setting ``command`` of this table, and returns what it prints."""
        return self._command(self.place, self._value("command"))

    def table(self, setting: str) -> "AccountTable | None":
        """Return a table within this one."""
        value = self._value(setting)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(setting, "must be a table, such as { provider = … }")
        table = AccountTable(f"{self.place}.{setting}", value, environ=self._environ)
        self._tables.append(table)
        return table

    def finish(self) -> list[str]:
        """Return the settings that have a key as their value. Raises if there is a setting that nobody has read."""
        for setting in self._values:
            if setting not in self._read:
                near = difflib.get_close_matches(setting, self._read, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(self._read))}"
                raise self.error(setting, f"is no setting here{hint}")
        return [*self.exposed, *(setting for table in self._tables for setting in table.finish())]

    def _value(self, setting: str) -> object:
        self._read.add(setting)
        return self._values.get(setting)

    def _variable(self, setting: str, value: Mapping[str, object]) -> str:
        name = value.get("env")
        if value.keys() != {"env"} or not isinstance(name, str) or not name:
            raise self.error(setting, 'must be { env = "NAME" } if it is a table')
        text = self._environ.get(name)
        if not text:
            raise MissingKeyError(f"{self.place}: {setting} needs the environment variable {name}, which is not set")
        return text

    def _command(self, place: str, words: object) -> Callable[[], Awaitable[str]]:
        if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
            raise ConfigurationError(f'{place}: command must be a list of texts, such as ["pass", "show", "zego"]')

        async def run() -> str:
            return await _output_of(words, place)

        return run


#: Of an unsigned 64-bit number: more than any id has.
MAX_DIGITS = 20


async def _output_of(words: list[str], place: str) -> str:
    """Return what a command prints. Nothing that it prints is in an error. It has no terminal, and no shell runs it."""
    program, *_ = words
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "its name cannot be used"
        raise ConfigurationError(f"{place}: the command {program} cannot be started: {reason}") from None
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT):
            output = await process.stdout.read(MAX_OUTPUT_BYTES + 1)
            while len(output) <= MAX_OUTPUT_BYTES and (more := await process.stdout.read(MAX_OUTPUT_BYTES)):
                output += more
            status = None if len(output) > MAX_OUTPUT_BYTES else await process.wait()
    except TimeoutError:
        raise ConfigurationError(f"{place}: the command {program} took longer than {COMMAND_TIMEOUT:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
    if status is None:
        reason = f"prints more than {MAX_OUTPUT_BYTES:,} bytes"
    elif status != 0:
        reason = f"failed with the status {status}"
    else:
        with contextlib.suppress(UnicodeDecodeError):
            text = output.decode().strip()
            if text:
                return text
        reason = "prints no text"
    del output  # of this frame, which the traceback shows
    raise ConfigurationError(f"{place}: the command {program} {reason}")
