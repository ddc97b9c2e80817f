"""Volcengine's signature, version 4 (``HMAC-SHA256``). Pure: the time is an argument.

The signed headers are listed in ``Signer.sign``.

https://www.volcengine.com/docs/6348/69859 and https://www.volcengine.com/docs/6369/67269
"""

import hmac
import re
import time
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import quote

from volc_moderation.credentials import VolcengineCredentials

ALGORITHM = "HMAC-SHA256"


def canonical_query(pairs: Mapping[str, str]) -> str:
    """Encode and sort a query. It is signed and sent in this very form."""
    return "&".join([f"{name}={value}" for name, value in sorted([(_quoted(k), _quoted(v)) for k, v in pairs.items()])])


#: The characters that need no escape: RFC 3986, section 2.3.
_UNRESERVED = re.compile(r"[A-Za-z0-9\-_.~]*").fullmatch


def _quoted(text: str) -> str:
    return text if _UNRESERVED(text) else quote(text, safe="-_.~")


class Signer:
    """Signs the requests of one key pair to one region.

    The signing key of the day, which takes four hashes to derive, is cached, as is the date of the current second.
    """

    def __init__(self, credentials: VolcengineCredentials, *, region: str, service: str = "rtc") -> None:
        self.credentials = credentials
        self.secrets = credentials.secrets
        self._region = region
        self._service = service
        self._second = -1
        self._date = ""
        self._day = ""
        self._keyed_hash = hmac.new(b"", digestmod="sha256")
        self._scope = ""

    def sign(
        self,
        *,
        method: str,
        host: str,
        query: str,
        body: bytes,
        now: float,
        content_type: str | None = None,
        path: str = "/",
    ) -> dict[str, str]:
        """Return the headers to send, ``Authorization`` among them.

        The signature covers the headers ``Host``, ``X-Content-Sha256`` and ``X-Date``, ``Content-Type`` if there is
        one, and ``X-Security-Token`` if the keys are temporary. ``query`` is canonical, ``body`` are the very bytes to
        send, and ``now`` is in Unix seconds.
        """
        if int(now) != self._second:
            self._set_second(int(now))
        date = self._date
        body_hash = sha256(body).hexdigest()
        headers = {"Host": host, "X-Date": date, "X-Content-Sha256": body_hash}
        # The canonical form is sorted by the names of the headers.
        canonical_headers = f"host:{_canonical_host(host)}\nx-content-sha256:{body_hash}\nx-date:{date}\n"
        signed_headers = "host;x-content-sha256;x-date"
        if content_type is not None:
            headers["Content-Type"] = content_type
            canonical_headers = f"content-type:{content_type}\n{canonical_headers}"
            signed_headers = f"content-type;{signed_headers}"
        if self.credentials.session_token is not None:
            token = self.credentials.session_token.reveal()
            headers["X-Security-Token"] = token
            canonical_headers += f"x-security-token:{token}\n"
            signed_headers += ";x-security-token"
        canonical_request = f"{method}\n{path}\n{query}\n{canonical_headers}\n{signed_headers}\n{body_hash}"
        to_sign = f"{ALGORITHM}\n{date}\n{self._scope}\n{sha256(canonical_request.encode()).hexdigest()}"
        # Copying a keyed hash is faster than hmac.digest, which also releases the GIL each time, for so short a time
        # that other threads starve.
        signature = self._keyed_hash.copy()
        signature.update(to_sign.encode())
        headers["Authorization"] = (
            f"{ALGORITHM} Credential={self.credentials.access_key}/{self._scope}, "
            f"SignedHeaders={signed_headers}, Signature={signature.hexdigest()}"
        )
        return headers

    def _set_second(self, second: int) -> None:
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        self._second = second
        day = self._date[:8]
        if day == self._day:
            return
        key = self.credentials.secret_key.reveal().encode()
        for part in (day, self._region, self._service, "request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._keyed_hash = hmac.new(key, digestmod="sha256")
        self._scope = f"{day}/{self._region}/{self._service}/request"
        self._day = day


def _canonical_host(host: str) -> str:
    # The official signers omit the two standard ports.
    name, _, port = host.rpartition(":")
    return name if port in {"80", "443"} else host
