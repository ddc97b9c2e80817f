"""Credentials that never print themselves: not in a repr, an error, or a debugger's dump of a frame."""

import os
import re
from collections.abc import Callable, Mapping

import attrs

from volc_moderation.errors import ConfigurationError, describe


class Secret:
    """A str that only ``reveal`` returns."""

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        # A closure, so that even a dump of the attributes does not show the text.
        def reveal() -> str:
            return value

        self._reveal: Callable[[], str] = reveal

    def reveal(self) -> str:
        """Return the text."""
        return self._reveal()

    def __repr__(self) -> str:
        return "Secret('***')"


def redact_passwords(text: str) -> str:
    """Replace the passwords in the URLs of a text by ``***``: those before the host, and those in a query."""
    return _QUERY_PASSWORD.sub(r"\1***", _USER_PASSWORD.sub(r"\1***@", text))


#: Up to the last @, since a password may contain one, and unescaped / and ?.
_USER_PASSWORD = re.compile(r"(://[^:/?#\s@]*:)\S*@")
_QUERY_PASSWORD = re.compile(r"([?&](?:[^=&\s]*password|username)=)[^&\s'\"]*", re.IGNORECASE)


@attrs.frozen
class VolcengineCredentials:
    """An access key pair of Volcengine, with the session token if the pair is temporary (STS)."""

    access_key: str = attrs.field(repr=lambda key: repr(key[:4] + "***"))
    secret_key: Secret
    session_token: Secret | None = None

    @classmethod
    def make(cls, access_key: str, secret_key: str, session_token: str | None = None) -> "VolcengineCredentials":
        """Validate and wrap the keys. Raises ``ConfigurationError``."""
        _check("access_key", access_key)
        _check("secret_key", secret_key)
        if session_token is not None:
            _check("session_token", session_token)
        return cls(access_key, Secret(secret_key), None if session_token is None else Secret(session_token))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show. Only the first four characters of the access key may be shown."""
        secrets = [secret.reveal() for secret in (self.secret_key, self.session_token) if secret is not None]
        return (*secrets, self.access_key)


@attrs.frozen
class ZegoCredentials:
    """A ZEGO AppId with its ServerSecret (not the CallbackSecret, which signs callbacks)."""

    app_id: int
    server_secret: Secret

    @classmethod
    def make(cls, app_id: int, server_secret: str) -> "ZegoCredentials":
        """Validate and wrap the keys. Raises ``ConfigurationError``."""
        if isinstance(app_id, bool) or not isinstance(app_id, int) or not 0 < app_id <= MAX_UINT32:
            raise ConfigurationError(f"app_id must be an int from 1 to {MAX_UINT32}; got {describe(app_id)}")
        _check("server_secret", server_secret)
        return cls(app_id, Secret(server_secret))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show."""
        return (self.server_secret.reveal(),)


def volcengine_keys_from_env(environ: Mapping[str, str] = os.environ) -> tuple[str, str, str | None]:
    """Read access key, secret key and session token from the variables of the official SDKs.

    Raises ``ConfigurationError`` if no pair is set, or only one half of a pair.
    """
    for access, secret, token in (
        ("VOLCENGINE_ACCESS_KEY", "VOLCENGINE_SECRET_KEY", "VOLCENGINE_SESSION_TOKEN"),
        ("VOLC_ACCESSKEY", "VOLC_SECRETKEY", ""),
    ):
        if environ.get(access) or environ.get(secret):
            return _required(environ, access), _required(environ, secret), environ.get(token) or None
    raise ConfigurationError(
        "set VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY (or VOLC_ACCESSKEY and VOLC_SECRETKEY)"
    )


def zego_keys_from_env(environ: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Read ``ZEGO_APP_ID`` and ``ZEGO_SERVER_SECRET``. Raises ``ConfigurationError``."""
    if not environ.get("ZEGO_APP_ID") and not environ.get("ZEGO_SERVER_SECRET"):
        raise ConfigurationError("set ZEGO_APP_ID and ZEGO_SERVER_SECRET")
    app_id = _required(environ, "ZEGO_APP_ID")
    if not (app_id.isascii() and app_id.isdigit() and len(app_id) <= len(str(MAX_UINT32))):
        raise ConfigurationError(f"ZEGO_APP_ID must be a decimal number from 1 to {MAX_UINT32}")
    return int(app_id), _required(environ, "ZEGO_SERVER_SECRET")


#: The largest AppId.
MAX_UINT32 = 2**32 - 1


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise ConfigurationError(f"{name} is not set")
    return value


def _check(name: str, value: object) -> None:
    """Check the form that the vendors issue: printable ASCII without blanks. Keys are sent in headers or hashed."""
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(f"{name} must be a str of printable ASCII without blanks; got {type(value).__name__}")
