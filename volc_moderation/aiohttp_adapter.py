"""How httpx-aiohttp's transport differs from httpx's own: what is changed in it, and what its exceptions prove.

Requests of an ``httpx_aiohttp.HttpxAiohttpClient`` or its twin for httpx2 go through an ``AiohttpTransport`` to a
session of aiohttp. Neither httpx nor aiohttp has a public API for all that is needed here. Where a private attribute
has gone, the client is left as it is.
"""

import base64
import re
from typing import TYPE_CHECKING, Any

from volc_moderation.errors import ConfigurationError

if TYPE_CHECKING:
    import aiohttp
    import yarl


def transport_for(client: Any, url: Any) -> Any:
    """Return the transport that a client uses for an address; None if that is unknown."""
    try:
        return client._transport_for_url(url)  # noqa: SLF001
    except AttributeError:
        return None


def is_aiohttp(transport: object) -> bool:
    """Return whether a transport sends with aiohttp."""
    return any(
        cls.__name__ == "AiohttpTransport" and cls.__module__.partition(".")[0] == "httpx_aiohttp"
        for cls in type(transport).__mro__
    )


def prepare(transport: Any) -> None:
    """Make a transport of httpx-aiohttp send each request once, as it was signed, and keep the proxy's password.

    It may be prepared several times. Raises ``ConfigurationError`` if its proxy is one that aiohttp cannot use.
    """
    import aiohttp  # noqa: PLC0415 - an extra

    proxy = transport.proxy
    if proxy is not None and proxy.url.scheme not in {"http", "https"}:
        raise ConfigurationError(f"aiohttp cannot use a proxy of the scheme {proxy.url.scheme}: give a client of httpx")
    if proxy is not None and proxy.auth:
        # As ``proxy_auth``, the password would be in the names of connections, which aiohttp logs. aiohttp sends this
        # header of the proxy as Proxy-Authorization.
        credentials = base64.b64encode(":".join(proxy.auth).encode()).decode()
        headers = {**proxy.headers, "Authorization": f"Basic {credentials}"}
        transport.proxy = type(proxy)(proxy.url, ssl_context=proxy.ssl_context, headers=headers)
    if isinstance(transport.client, aiohttp.ClientSession):
        _send_once(transport.client)
    elif not isinstance(transport.client, _SessionFactory):
        transport.client = _SessionFactory(transport)


class _SessionFactory:
    """Creates the session of a transport when the transport sends its first request."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        #: None, or the function of the user that creates the session.
        self.given = transport.client

    def __call__(self) -> "aiohttp.ClientSession":
        transport = self._transport
        transport.client = self.given
        session: aiohttp.ClientSession = transport.get_client()
        _send_once(session)
        if hasattr(session, "_build_url"):
            vars(session)["_build_url"] = _unchanged_url
        return session


def _send_once(session: "aiohttp.ClientSession") -> None:
    """Keep aiohttp from sending a GET again if the server closes the connection.

    The second request would have no permit, and the nonce of the first one.
    """
    if hasattr(session, "_retry_connection"):
        session._retry_connection = False  # noqa: SLF001


def _unchanged_url(url: str) -> "yarl.URL":
    """Parse the address of a request, which httpx has encoded: aiohttp would encode it anew, in another way."""
    import yarl  # noqa: PLC0415 - comes with aiohttp

    return yarl.URL(url, encoded=True)


def error_types() -> tuple[type[Exception], ...]:
    """Return what a transport of httpx-aiohttp raises besides the exceptions of httpx and ``OSError``."""
    import aiohttp  # noqa: PLC0415 - an extra
    from aiohttp.http import HttpProcessingError  # noqa: PLC0415

    return aiohttp.ClientError, HttpProcessingError, ValueError


def cause_of(error: Exception) -> tuple[Exception, str]:
    """Return the exception of aiohttp that an exception of the adapter stands for, and its text without a query.

    The adapter's own exception may mislead: it raises ``ConnectTimeout`` for any connection that breaks.
    """
    import aiohttp  # noqa: PLC0415 - an extra

    if isinstance(error.__cause__, aiohttp.ClientError):
        error = error.__cause__
    match error:
        case aiohttp.ClientHttpProxyError():
            text = f"{error.status} {error.message}"
        case aiohttp.ClientResponseError():
            text = error.message
        case _:
            text = str(error)
    return error, _QUERY.sub("", " ".join(text.split()))


_QUERY = re.compile(r"(?<=/)\?[^\s'\"]*")


def proves_nothing_sent(error: Exception) -> bool:
    """Return whether an exception of aiohttp proves that no connection was made. What is unknown proves nothing."""
    import aiohttp  # noqa: PLC0415 - an extra

    return isinstance(
        error,
        (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ServerFingerprintMismatch,
            aiohttp.InvalidURL,
            aiohttp.NonHttpUrlClientError,
        ),
    )


def connection_limit(transport: Any) -> int | None:
    """Return how many connections to one host such a transport opens at most; None if this is unlimited or unknown."""
    given = transport.client
    if isinstance(given, _SessionFactory):
        given = given.given
    if given is None:
        limit: int | None = transport.limits.max_connections
        return limit
    connector = getattr(given, "connector", None)  # a session that is yet to be created has none
    limits = [getattr(connector, name, None) for name in ("limit", "limit_per_host")]
    return min(filter(None, limits), default=None)
