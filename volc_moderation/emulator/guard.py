"""Keeps web pages away from the emulator while it listens on a socket.

A browser lets any page send requests to ports of the user's own machine. Two things give such a request away.
``Origin`` and ``Sec-Fetch-Site`` tell that a page of another origin sent it; programs that are clients send neither.
``Host`` has a host name: a page can pass for one of the emulator's own if its name is made to point here (DNS
rebinding), and then that name is there.
"""

import ipaddress
import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: https://www.rfc-editor.org/rfc/rfc9110#section-7.2: a host, of IPv6 in brackets, and perhaps a port.
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/@?#]+))(?::(?P<port>[0-9]{1,5}))?")

#: https://www.w3.org/TR/fetch-metadata/: the emulator's own pages, of which it has none, and a user's own doing.
_OWN_SITES = frozenset({"same-origin", "none"})


class Guard:
    """An app that answers only requests that no foreign page can have sent, all others with 403.

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
        if not self._is_own(host):
            return "the emulator is called by an IP address, by localhost, or by the name that it was told to listen on"
        origins = set(headers.getlist("origin"))
        if not origins <= {f"http://{host}", f"https://{host}"}:
            return "the emulator does not answer to web pages: the Origin is another one"
        if not set(headers.getlist("sec-fetch-site")) <= _OWN_SITES:
            return "the emulator does not answer to web pages: Sec-Fetch-Site says that one asks"
        return None

    def _is_own(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        return _is_ip_address(match["v6"] or match["name"]) or (match["name"] or "").lower() in self._hosts


def _is_ip_address(host: str) -> bool:
    """Tell whether a host is an address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
