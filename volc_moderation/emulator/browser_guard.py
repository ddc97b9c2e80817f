"""Keeps web pages from calling the emulator while it listens on a socket.

A browser lets any page send requests to ports of the user's own machine. Two headers reveal such requests:

- ``Origin`` and ``Sec-Fetch-Site`` show that a page of another origin sent the request. Client programs send neither.
- ``Host`` contains the host name of the page. With DNS rebinding, a page's own name points to this machine and the
  page passes for one of the emulator's own; then that name is in ``Host``.
"""

import ipaddress
import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: https://www.rfc-editor.org/rfc/rfc9110#section-7.2: a host, in brackets if it is IPv6, and an optional port.
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/@?#]+))(?::(?P<port>[0-9]{1,5}))?")

#: https://www.w3.org/TR/fetch-metadata/: requests of the emulator's own pages, and requests that the user typed.
_ALLOWED_SITES = frozenset({"same-origin", "none"})


class BrowserGuard:
    """An ASGI app that passes on requests that no foreign page can have sent, and answers all others with 403.

    :param hosts: the names by which the app may be called, besides ``localhost`` and any IP address.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {"localhost", *(host.lower() for host in hosts if host)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        problem = self._problem(Headers(scope=scope)) if scope["type"] == "http" else None
        app = self._app if problem is None else JSONResponse({"error": problem}, 403)
        await app(scope, receive, send)

    def _problem(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._is_allowed(host):
            return "the emulator must be called by an IP address, by localhost, or by the name that it listens on"
        origins = set(headers.getlist("origin"))
        if not origins <= {f"http://{host}", f"https://{host}"}:
            return "the emulator does not answer web pages: the Origin is not its own"
        if not set(headers.getlist("sec-fetch-site")) <= _ALLOWED_SITES:
            return "the emulator does not answer web pages: Sec-Fetch-Site shows that one sent the request"
        return None

    def _is_allowed(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        return _is_ip_address(match["v6"] or match["name"]) or (match["name"] or "").lower() in self._hosts


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
