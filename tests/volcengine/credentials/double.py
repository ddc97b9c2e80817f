"""Doubles of STS and of the metadata service on loopback. They judge requests with nothing of the package.

The answers are those of the vendor's documents and official SDKs, with made-up keys.
"""

import calendar
import hashlib
import hmac
import time
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, quote

import attrs

from tests.volcengine.credentials.http_double import Answer, HTTPDouble, Received

ACCESS_KEY = "AKLTexample0000000000000000000000000"
SECRET_KEY = "U0tleGFtcGxlc2VjcmV0a2V5Zm9ydGVzdHM9PQ=="
ROLE_TRN = "trn:iam::2100000001:role/rtc-moderator"
ACCOUNT = "2100000001"
OIDC_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6bnM6c2EifQ.c2ln"
METADATA_TOKEN = "IMDS-TOKEN-1"
#: 2026-11-20T16:30:00+08:00, the time of the worked examples.
NOW = 1_795_163_400.0

ROLE_KEYS = ("AKTPexample00000000000000000000000000", "VG1wU2VjcmV0RXhhbXBsZTAx==", "STSexample/+token==")
ECS_KEYS = ("AKTPecs000000000000000000000000000000", "RWNzU2VjcmV0==", "STSecs/+token==")
#: What no error may show.
SECRETS = (SECRET_KEY, OIDC_TOKEN, METADATA_TOKEN, *ROLE_KEYS, *ECS_KEYS)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def text(self, seconds: float = 0.0) -> str:
        """Return a time as the vendor writes it."""
        return datetime.fromtimestamp(self.now + seconds, timezone(timedelta(hours=8))).isoformat()


@attrs.frozen
class Pair:
    """Keys that STS knows."""

    secret_key: str
    session_token: str | None = None


def signature_of(request: Received, secret_key: str, scope: str, signed_headers: list[str]) -> str:
    """Compute the signature of a request: https://www.volcengine.com/docs/6369/67269."""
    query = parse_qsl(request.target.partition("?")[2], keep_blank_values=True)
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    canonical = [
        request.method,
        request.path,
        "&".join(f"{name}={value}" for name, value in encoded),
        *(f"{name}:{request.headers[name]}" for name in signed_headers),
        "",
        ";".join(signed_headers),
        hashlib.sha256(request.body.encode()).hexdigest(),
    ]
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = secret_key.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    to_sign = f"HMAC-SHA256\n{request.headers['x-date']}\n{scope}\n{digest}"
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def refusal(code: str, status: int, code_n: int = 0, message: str = "no") -> Answer:
    """Return an error response of the gateway."""
    error = {"CodeN": code_n, "Code": code, "Message": message}
    metadata = {"RequestId": "r2", "Version": "2018-01-01", "Service": "sts", "Region": "cn-beijing", "Error": error}
    return Answer({"ResponseMetadata": metadata}, status)


THROTTLED = refusal("RequestLimitExceeded", 429, 100018)


def success(action: str, result: object) -> Answer:
    metadata = {
        "RequestId": "202611201630000102120631660000",
        "Action": action,
        "Version": "2018-01-01",
        "Service": "sts",
        "Region": "cn-beijing",
    }
    return Answer({"ResponseMetadata": metadata, "Result": result})


_ROLE_OPTIONS = {"DurationSeconds", "RoleSessionName", "RoleTrn"}


class STSDouble(HTTPDouble):
    """STS: verifies signatures, and that calls with a token have none."""

    def __init__(self, clock: Clock, *, port: int = 0) -> None:
        super().__init__(self._respond, port=port)
        self.clock = clock
        self.pairs = {ACCESS_KEY: Pair(SECRET_KEY)}
        #: What proves a caller of AssumeRoleWithOIDC.
        self.oidc_token = OIDC_TOKEN
        self.lifetime: float | None = None
        self.issued = 0

    def credentials(self, lifetime: float, expiry: str) -> dict[str, str]:
        """Return new keys. The first ones are those of the worked examples."""
        access_key, secret_key, token = ROLE_KEYS
        suffix = str(self.issued) if self.issued else ""
        self.issued += 1
        self.pairs[access_key + suffix] = Pair(secret_key, token + suffix)
        return {
            "CurrentTime": self.clock.text(),
            expiry: self.clock.text(lifetime),
            "AccessKeyId": access_key + suffix,
            "SecretAccessKey": secret_key,
            "SessionToken": token + suffix,
        }

    def _respond(self, request: Received) -> Answer:
        assert request.path == "/"
        assert request.headers["host"] == self.address
        action = request.query["Action"]
        assert request.query["Version"] == "2018-01-01"
        if action == "AssumeRoleWithOIDC":
            return self._assume_with_token(request)
        refused = self._verify(request)
        if refused is not None:
            return refused
        if action == "GetCallerIdentity":
            identity = {
                "AccountId": int(ACCOUNT),
                "Trn": f"trn:sts::{ACCOUNT}:assumed-role/rtc-moderator/i-1",
                "IdentityType": "assumed-role",
                "IdentityId": "5000001",
            }
            return success(action, identity)
        assert action == "AssumeRole"
        return self._assume(action, request.query, "ExpiredTime")

    def _assume_with_token(self, request: Received) -> Answer:
        assert request.method == "POST"
        assert not {"authorization", "x-date", "x-content-sha256", "x-security-token"} & set(request.headers)
        assert set(request.query) == {"Action", "Version"}
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert request.headers["accept"] == "application/json"
        if request.form["OIDCToken"] != self.oidc_token:
            return refusal("AccessDenied", 403, 100013, f"{request.body} {request.form['OIDCToken']}")
        return self._assume("AssumeRoleWithOIDC", request.form, "Expiration")

    def _assume(self, action: str, options: dict[str, str], expiry: str) -> Answer:
        assert set(options) - {"Action", "Version", "Policy", "OIDCToken"} == _ROLE_OPTIONS
        account, role = options["RoleTrn"].split(":")[3], options["RoleTrn"].partition("/")[2]
        lifetime = int(options["DurationSeconds"]) if self.lifetime is None else self.lifetime
        session = options["RoleSessionName"]
        result: dict[str, object] = {
            "Credentials": self.credentials(lifetime, expiry),
            "AssumedRoleUser": {
                "Trn": f"trn:sts::{account}:assumed-role/{role}/{session}",
                "AssumedRoleId": f"5000001:{session}",
            },
        }
        if action == "AssumeRoleWithOIDC":
            result["OIDCTokenInfo"] = {
                "Subject": "system:serviceaccount:ns:sa",
                "Issuer": "https://oidc.example",
                "ClientIds": ["sts.volcengine.com"],
                "ExpirationTime": self.clock.text(1800),
                "IssuanceTime": self.clock.text(-1800),
            }
        return success(action, result)

    def _verify(self, request: Received) -> Answer | None:
        """Return the refusal of a signature that is wrong."""
        algorithm, _, rest = request.headers["authorization"].partition(" ")
        assert algorithm == "HMAC-SHA256"
        parts = dict(part.split("=", 1) for part in rest.split(", "))
        access_key, _, scope = parts["Credential"].partition("/")
        signed_headers = parts["SignedHeaders"].split(";")
        assert signed_headers == sorted(signed_headers)
        assert {"host", "x-date", "x-content-sha256"} <= set(signed_headers)
        assert request.method == "GET"
        assert not request.body
        assert request.headers["x-content-sha256"] == hashlib.sha256(b"").hexdigest()
        date = request.headers["x-date"]
        assert scope == f"{date[:8]}/cn-beijing/sts/request"
        if abs(calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ")) - self.clock()) > 900:
            return refusal("InvalidTimestamp", 403, 100006)
        pair = self.pairs.get(access_key)
        if pair is None:
            return refusal("InvalidAccessKey", 401, 100009)
        if pair.session_token is not None:
            assert "x-security-token" in signed_headers
        if request.headers.get("x-security-token") != pair.session_token:
            return refusal("InvalidSecretToken", 401, 100026)
        if not hmac.compare_digest(parts["Signature"], signature_of(request, pair.secret_key, scope, signed_headers)):
            return refusal("SignatureDoesNotMatch", 401, 100010)
        return None


class MetadataDouble(HTTPDouble):
    """The metadata service of a server: a token first, then the role that is bound, then its keys."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(self._respond)
        self.clock = clock
        #: What it answers to the question for roles.
        self.roles: object = ["rtc-moderator"]
        self.lifetime = 6 * 3600.0
        self.changes: dict[str, object] = {}

    def _respond(self, request: Received) -> Answer:
        if request.path == "/latest/api/token":
            assert request.method == "PUT"
            assert request.headers["x-volc-ecs-metadata-token-ttl-seconds"] == "21600"
            return Answer(f"{METADATA_TOKEN}\n")
        assert request.method == "GET"
        if request.headers.get("x-volc-ecs-metadata-token") != METADATA_TOKEN:
            return Answer(status=401)
        if request.target == "/volcstack/latest/iam/security_credentials?type=user&format=json":
            return Answer(self.roles) if self.roles else Answer(status=404)
        assert request.path.startswith("/volcstack/latest/iam/security_credentials/")
        keys: dict[str, object] = dict(zip(("AccessKeyId", "SecretAccessKey", "SessionToken"), ECS_KEYS, strict=True))
        keys |= {"ExpiredTime": self.clock.text(self.lifetime), "CurrentTime": self.clock.text()}
        return Answer({name: value for name, value in (keys | self.changes).items() if value is not None})
