"""The address of a vendor."""

from urllib.parse import urlsplit

import attrs

from volc_moderation.errors import ConfigurationError, describe


@attrs.frozen
class BaseURL:
    """The address of a vendor: http or https, without a path."""

    url: str
    #: The Host header that is sent and signed: in lower case, with the port unless it is the scheme's default.
    host: str
    #: The host without the port.
    name: str
    port: int
    is_loopback: bool

    @property
    def account_suffix(self) -> str:
        """Distinguishes the accounts of an emulator from those of the vendor, whose hosts all share their quotas."""
        return f"@{self.host}" if self.is_loopback else ""

    @classmethod
    def parse(cls, base_url: object) -> "BaseURL":
        """Parse an address. Raises ``ConfigurationError`` if it is not one."""
        rule = "base_url must be like 'https://host' or 'http://127.0.0.1:8000', without path, query or user"
        if not isinstance(base_url, str):
            raise ConfigurationError(f"{rule}; got {describe(base_url)}")
        try:
            parts = urlsplit(base_url)
            name, port = parts.hostname, parts.port
        except ValueError:
            raise ConfigurationError(rule) from None
        if (
            parts.scheme not in {"http", "https"}
            or not name
            or not base_url.isascii()
            or not base_url.isprintable()
            or " " in base_url
            or parts.path not in {"", "/"}
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ConfigurationError(rule)
        host = f"[{name}]" if ":" in name else name
        default_port = {"http": 80, "https": 443}[parts.scheme]
        if port is not None and port != default_port:
            host += f":{port}"
        is_loopback = name in {"localhost", "::1"} or name.startswith("127.")
        return cls(f"{parts.scheme}://{host}", host, name, default_port if port is None else port, is_loopback)
