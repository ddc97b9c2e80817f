"""Volcengine's signature V4, ``HMAC-SHA256``. Pure: the time is an argument.

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
    """Encode and sort the query. It is signed and sent in this very form."""
    return "&".join([f"{name}={value}" for name, value in sorted([(_quoted(k), _quoted(v)) for k, v in pairs.items()])])


#: RFC 3986: these stay as they are.
_UNRESERVED = re.compile(r"[A-Za-z0-9\-_.~]*").fullmatch


def _quoted(text: str) -> str:
    return text if _UNRESERVED(text) else quote(text, safe="-_.~")


class Signer:
    """Signs requests of one key pair to one region.

    The day's signing key is kept, which takes four hashes to derive and is good for all requests of a day; so is the
    second's date.
    """

    def __init__(self, credentials: VolcengineCredentials, *, region: str, service: str = "rtc") -> None:
        self._credentials = credentials
        self.secrets = credentials.secrets
        self._region = region
        self._service = service
        self._second = -1
        self._date = ""
        self._day = ""
        self._keyed = hmac.new(b"", digestmod="sha256")
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
        """Return the headers that sign a request.

        ``query`` is canonical, ``body`` the very bytes to send, ``now`` in Unix seconds. Signed are ``Content-Type`` if
        given, ``Host``, ``X-Content-Sha256``, ``X-Date``, and ``X-Security-Token`` if the keys are temporary.
        """
        if int(now) != self._second:
            self._set_second(int(now))
        date = self._date
        body_hash = sha256(body).hexdigest()
        headers = {"Host": host, "X-Date": date, "X-Content-Sha256": body_hash}
        canonical = f"host:{_canonical_host(host)}\nx-content-sha256:{body_hash}\nx-date:{date}\n"
        signed = "host;x-content-sha256;x-date"
        if content_type is not None:
            headers["Content-Type"] = content_type
            canonical = f"content-type:{content_type}\n{canonical}"
            signed = f"content-type;{signed}"
        if self._credentials.session_token is not None:
            token = self._credentials.session_token.reveal()
            headers["X-Security-Token"] = token
            canonical += f"x-security-token:{token}\n"
            signed += ";x-security-token"
        request = f"{method}\n{path}\n{query}\n{canonical}\n{signed}\n{body_hash}"
        to_sign = f"{ALGORITHM}\n{date}\n{self._scope}\n{sha256(request.encode()).hexdigest()}"
        # A copy of a keyed hash: faster than hmac.digest, which gives the interpreter's lock away each time, so briefly
        # that other threads starve.
        signing = self._keyed.copy()
        signing.update(to_sign.encode())
        headers["Authorization"] = (
            f"{ALGORITHM} Credential={self._credentials.access_key}/{self._scope}, "
            f"SignedHeaders={signed}, Signature={signing.hexdigest()}"
        )
        return headers

    def _set_second(self, second: int) -> None:
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        self._second = second
        day = self._date[:8]
        if day == self._day:
            return
        key = self._credentials.secret_key.reveal().encode()
        for part in (day, self._region, self._service, "request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._keyed = hmac.new(key, digestmod="sha256")
        self._scope = f"{day}/{self._region}/{self._service}/request"
        self._day = day


def _canonical_host(host: str) -> str:
    # The official signers leave the two standard ports out.
    name, _, port = host.rpartition(":")
    return name if port in {"80", "443"} else host
