"""Fixtures of the tests of the checks: names that no server is asked about."""

import socket
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find only the names of this machine, and ``vendor.example``, without asking a server."""
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host == "vendor.example":
            return original("203.0.113.1", *args, **options)
        name = host.decode() if isinstance(host, bytes) else host
        if name not in {None, "localhost", "::1"} and not name.startswith("127."):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return original(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
