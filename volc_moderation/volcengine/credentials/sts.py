"""The calls to Volcengine's token service, STS: what is sent, and the keys in the answers. Pure.

``AssumeRole`` and ``GetCallerIdentity`` are signed like every call. ``AssumeRoleWithOIDC`` is not signed: its token is
what proves who calls. https://www.volcengine.com/docs/6257/86374 (AssumeRole), https://www.volcengine.com/docs/6257/1494877
(AssumeRoleWithOIDC) and https://www.volcengine.com/docs/6257/1902650 (GetCallerIdentity)
"""

import json
import re
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote_plus, urlencode

from attrs import field, frozen

from volc_moderation.action import Action, Result, api_version, version_of, wire_name
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import ConfigurationError, DecodeError, describe
from volc_moderation.volcengine.signing import canonical_query
from volc_moderation.wire import Request, query_parameters

R = TypeVar("R")

ENDPOINT = "https://sts.volcengineapi.com"
SERVICE = "sts"
#: The region that all official SDKs of today sign for STS.
REGION = "cn-beijing"

DEFAULT_DURATION = 3600  # seconds
MIN_DURATION = 900  # seconds
MAX_DURATION = 43_200  # seconds


@frozen(kw_only=True)
class TemporaryKeys:
    """Keys that expire, as STS and the metadata service send them. Times are in RFC 3339."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    current_time: str | None = None
    expired_time: str | None = None
    #: The name of ``expired_time`` in the answer to AssumeRoleWithOIDC.
    expiration: str | None = None

    def to_credentials(self, *, now: float, account: str | None, are_new: bool) -> VolcengineCredentials:
        """Return credentials with their expiry on our clock.

        :param now: when the keys were asked for, on our clock, in Unix seconds.
        :param are_new: whether they were made for this answer, so that ``current_time`` is the time of the answer. Then
            their lifetime counts, and a clock of ours that is wrong does not matter. Keys that the vendor had stored
            may carry the time at which they were made: these expire at whichever time is earlier.

        Raises ``DecodeError`` if there is no usable expiry, or if they have expired.
        """
        name = "ExpiredTime" if self.expired_time else "Expiration"
        expires_at = _unix_time(name, self.expired_time or self.expiration)
        if self.current_time:
            by_lifetime = now + expires_at - _unix_time("CurrentTime", self.current_time)
            expires_at = by_lifetime if are_new else min(by_lifetime, expires_at)
        if expires_at <= now:
            raise DecodeError(f"{name}: the keys have expired already", path=name)
        try:
            return VolcengineCredentials.make(
                self.access_key_id, self.secret_access_key, self.session_token, expires_at=expires_at, account=account
            )
        except ConfigurationError as error:
            reason = error.message
        raise DecodeError(f"the keys are malformed: {reason}", path="AccessKeyId")


def _unix_time(name: str, text: str | None) -> float:
    """Read a time in RFC 3339. Raises ``DecodeError``."""
    if not text:
        raise DecodeError(f"{name}: required field missing", path=name)
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.timestamp()
    except (ValueError, OverflowError):
        pass
    raise DecodeError(f"{name}: expected a time in RFC 3339 with its offset", path=name)


@frozen(kw_only=True)
class AssumedRole(Result):
    """The keys of a role."""

    credentials: TemporaryKeys
    #: Who they belong to: its ``Trn`` is such as ``trn:sts::2100000001:assumed-role/ROLE/SESSION``.
    assumed_role_user: object = None

    def to_credentials(self, role_trn: str, *, now: float) -> VolcengineCredentials:
        """Return the credentials, and the account that they belong to. Raises ``DecodeError``."""
        user = self.assumed_role_user
        trn = user.get("Trn") if isinstance(user, dict) else None
        account = (isinstance(trn, str) and account_of(trn)) or account_of(role_trn)
        return self.credentials.to_credentials(now=now, account=account, are_new=True)


@frozen(kw_only=True)
class CallerIdentity(Result):
    """Who the keys of a call belong to."""

    account_id: int
    trn: str
    identity_type: str
    identity_id: str


@frozen(kw_only=True)
class AssumeRole(Action[AssumedRole]):
    """Get keys of a role, with keys that may assume it."""

    method = "GET"
    result = AssumedRole

    duration_seconds: int
    role_session_name: str
    role_trn: str
    policy: str | None = None
    version: str | None = api_version("2018-01-01")


@frozen(kw_only=True)
class AssumeRoleWithOIDC(Action[AssumedRole]):
    """Get keys of a role, with a token of an OpenID Connect issuer that the role trusts."""

    result = AssumedRole

    duration_seconds: int
    role_session_name: str
    role_trn: str
    oidc_token: str = field(repr=False, metadata=wire_name("OIDCToken"))
    policy: str | None = None
    version: str | None = api_version("2018-01-01")


@frozen(kw_only=True)
class GetCallerIdentity(Action[CallerIdentity]):
    """Get the account and the name of the caller."""

    method = "GET"
    result = CallerIdentity

    version: str | None = api_version("2018-01-01")


def encode_unsigned(action: AssumeRoleWithOIDC, *, url: str, host: str) -> Request:
    """Encode the call that is not signed.

    Action and version must be in the query: with them in the body, the gateway asks for a signature.
    """
    query = canonical_query({"Action": action.name, "Version": version_of(action)})
    headers = {"Host": host, "Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(query_parameters(action)).encode()
    # An answer may repeat the token as it is, or as it was sent.
    secrets = (action.oidc_token, quote_plus(action.oidc_token))
    return Request("POST", f"{url}/?{query}", headers, body, secrets)


_TRN = re.compile(r"trn:[\w-]+:[\w-]*:([0-9]+):.+")
_ROLE_TRN = re.compile(r"trn:iam::[0-9]+:role/[\w.@/+=,-]+", re.ASCII)


def account_of(trn: str) -> str | None:
    """Return the id of the account that a TRN names."""
    match = _TRN.fullmatch(trn)
    return match and match[1]


def role_trn_of(account_id: str, role_name: str) -> str:
    """Return the TRN of a role."""
    return f"trn:iam::{account_id}:role/{role_name}"


def check_role(role_trn: object, *, duration_seconds: object, policy: object, role_session_name: object) -> None:
    """Check the options of a role. Raises ``ConfigurationError``."""
    if not isinstance(role_trn, str) or not _ROLE_TRN.fullmatch(role_trn):
        raise ConfigurationError(f"role_trn must be like 'trn:iam::ACCOUNT_ID:role/NAME'; got {describe(role_trn)}")
    is_int = isinstance(duration_seconds, int) and not isinstance(duration_seconds, bool)
    if not is_int or not MIN_DURATION <= duration_seconds <= MAX_DURATION:  # type: ignore[operator] # it is an int
        raise ConfigurationError(
            f"duration_seconds must be an int from {MIN_DURATION} to {MAX_DURATION}; got {describe(duration_seconds)}"
        )
    if policy is not None and not _is_json_object(policy):
        raise ConfigurationError(f"policy must be a str with a JSON object, or None; got {describe(policy)}")
    # The vendor does not document what it accepts. This is what is known to be accepted.
    if role_session_name is not None and not (
        isinstance(role_session_name, str) and _SESSION_NAME.fullmatch(role_session_name)
    ):
        raise ConfigurationError(
            "role_session_name must be a str of 2 to 64 characters of A-Z a-z 0-9 + = , . @ _ -, or None; "
            f"got {describe(role_session_name)}"
        )


_SESSION_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{2,64}")


def _is_json_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
