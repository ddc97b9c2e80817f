"""Keys of the role of a server at Volcengine (ECS), from the metadata service that each server has.

The address is that of https://www.volcengine.com/docs/6396/113780; the paths are those of the official SDKs.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote

import attrs

from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import ConfigurationError, DecodeError, ModerationError, TransportError, describe
from volc_moderation.log_events import LogEvent
from volc_moderation.printable import counted
from volc_moderation.retry import RetryPolicy
from volc_moderation.transport import Transport
from volc_moderation.volcengine.credentials import sts
from volc_moderation.volcengine.credentials.provider import NotConfiguredError, RenewingProvider
from volc_moderation.volcengine.credentials.sending import STS, connected, parse_endpoint, repeat
from volc_moderation.volcengine.credentials.sts import TemporaryKeys
from volc_moderation.wire import Request, load_json, parse

ENDPOINT = "http://100.96.0.96"
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
ROLES_PATH = "/volcstack/latest/iam/security_credentials"
#: How long a token of the metadata service is valid. Each renewal gets a new one, so any time would do.
TOKEN_TTL = 21_600  # seconds
#: The time for one request, half of which is for connecting. The service answers on the server's own host.
METADATA_TIMEOUT = 2.0  # seconds
METADATA_RETRY = RetryPolicy(attempts=2, base=0.5)
#: The keys do not depend on the question who they belong to, so it is worth no long wait.
IDENTITY_TIMEOUT = 3.0  # seconds
#: Far more than any answer of the service has.
MAX_ANSWER_BYTES = 2**16


class ECSCredentials(RenewingProvider):
    """Keys of the role that is bound to this server.

    They are requested from the metadata service, never through a proxy. Their account is learned once from STS.

    :param role_name: the role; None for ``VOLCENGINE_ECS_METADATA``, else for the one that is bound to the server.
    :param account: the id of the account, so that STS need not be asked.
    :param environ: the variables. ``VOLCENGINE_ECS_METADATA_DISABLED=true`` disables the provider.
    :param endpoint: the address of the metadata service.
    :param sts_endpoint: the address of STS.
    :param clock: returns the Unix time.

    Raises ``ConfigurationError`` for a wrong option.
    """

    def __init__(
        self,
        role_name: str | None = None,
        *,
        account: str | None = None,
        environ: Mapping[str, str] = os.environ,
        endpoint: str = ENDPOINT,
        sts_endpoint: str = sts.ENDPOINT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if role_name is not None:
            _check_role_name("role_name", role_name)
        self._endpoint = parse_endpoint(endpoint)
        super().__init__(f"ECS role (metadata service {self._endpoint.host})", account=account, clock=clock)
        self._role_name = role_name
        self._environ = environ
        self._sts = STS(sts_endpoint, clock=clock, retry=METADATA_RETRY, timeout=IDENTITY_TIMEOUT)
        self._clock = clock

    def is_configured(self) -> bool:
        """Return whether the provider is not disabled."""
        return self._environ.get("VOLCENGINE_ECS_METADATA_DISABLED", "").strip().lower() != "true"

    async def fetch(self) -> VolcengineCredentials:
        """Request the keys, and once the account that they belong to."""
        if not self.is_configured():
            raise NotConfiguredError("VOLCENGINE_ECS_METADATA_DISABLED is true")
        role = self._role_name or self._environ.get("VOLCENGINE_ECS_METADATA", "").strip() or None
        if role is not None:
            _check_role_name("VOLCENGINE_ECS_METADATA", role)
        now = self._clock()
        try:
            async with connected(self._endpoint, uses_proxies=False) as transport:
                metadata = _Metadata(transport, self._endpoint.url, self._endpoint.host)
                keys = await metadata.keys(role)
        except ModerationError as error:
            raise error.with_traceback(None) from None  # its frames hold the keys
        if metadata.number_of_roles > 1:
            roles = counted(metadata.number_of_roles, "role")
            LogEvent.SEVERAL_ROLES.log(
                "%s: %s are bound to this server, the first one is used",
                self.name,
                roles,
                provider=self.name,
                count=metadata.number_of_roles,
            )
        credentials = keys.to_credentials(now=now, account=self.account, are_new=False)
        if self.account is None:
            self.account = await self._learn_account(credentials)
            credentials = attrs.evolve(credentials, account=self.account)
        return credentials

    async def _learn_account(self, credentials: VolcengineCredentials) -> str | None:
        try:
            identity = await self._sts.caller_identity(credentials)
        except ModerationError as error:
            LogEvent.ACCOUNT_UNKNOWN.log("%s: the account is not known: %s", self.name, error, provider=self.name)
            return None
        return str(identity.account_id)


class _Metadata:
    """The requests of one refresh. Nothing but the keys outlives it."""

    def __init__(self, transport: Transport, url: str, host: str) -> None:
        self._transport = transport
        self._url = url
        self._host = host
        self._headers: dict[str, str] = {}
        self._secrets: tuple[str, ...] = ()
        #: How many roles are bound to the server; 0 if a role was given.
        self.number_of_roles = 0

    async def keys(self, role: str | None) -> TemporaryKeys:
        """Return the keys of a role; of the one that is bound to the server if none is given.

        Raises ``NotConfiguredError`` if no role is given, and there is none, or no metadata service.
        """
        try:
            token = await self._send("PUT", TOKEN_PATH, {"X-volc-ecs-metadata-token-ttl-seconds": str(TOKEN_TTL)})
        except TransportError as error:
            is_absent = not error.maybe_sent or _is_client_error(error)
            if role is not None or not is_absent:
                raise
            raise NotConfiguredError(f"there is no metadata service: {error}") from None
        self._use_token(token.strip())
        keys = await self._send("GET", f"{ROLES_PATH}/{quote(role or await self._bound_role(), safe='')}")
        answer = load_json(keys)
        if answer is None:
            raise DecodeError("the metadata service sent no JSON object", path="keys")
        return parse(answer, TemporaryKeys, root="keys")

    def _use_token(self, token: str) -> None:
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise DecodeError("the metadata service sent no usable token", path="token")
        self._headers = {"X-volc-ecs-metadata-token": token}
        self._secrets = (token,)

    async def _bound_role(self) -> str:
        try:
            answer = await self._send("GET", f"{ROLES_PATH}?type=user&format=json")
        except TransportError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            answer = ""
        roles = _read_roles(answer)
        if not roles:
            raise NotConfiguredError("no role is bound to this server")
        self.number_of_roles = len(roles)
        return roles[0]

    async def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> str:
        """Return the text of an answer. Raises ``TransportError``, which has the status of any other answer."""
        request = Request(
            "PUT" if method == "PUT" else "GET",
            self._url + path,
            {"Host": self._host, **(headers or self._headers)},
            b"",
            self._secrets,
        )

        async def attempt() -> str:
            response = await self._transport.send(request, timeout=METADATA_TIMEOUT)
            size = counted(len(response.body), "byte")
            if response.status != HTTPStatus.OK:
                reason = f"the metadata service answered HTTP {response.status} with {size}"
                raise TransportError(
                    f"{reason} to {method} {path.partition('?')[0]}", maybe_sent=True, status=response.status
                )
            if len(response.body) > MAX_ANSWER_BYTES:
                raise DecodeError(f"the metadata service answered with {size}", path="answer")
            return response.body.decode(errors="replace")

        return await repeat(attempt, METADATA_RETRY)


def _is_client_error(error: TransportError) -> bool:
    return error.status is not None and HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR


def _check_role_name(name: str, value: object) -> None:
    if not isinstance(value, str) or not _ROLE_NAME.fullmatch(value):
        raise ConfigurationError(f"{name} must be the name of a role; got {describe(value)}")


#: What may be a name: not a step in a path, nor nothing, more than 128 characters, or control characters.
_ROLE_NAME = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}")
#: What the vendor accepts as the name of a role, and so sends: https://www.volcengine.com/docs/6257/69814
_BOUND_ROLE = re.compile(r"(?!\.{1,2}$)[\w.@+=,-]{1,128}", re.ASCII)


def _read_roles(answer: str) -> list[str]:
    """Read a JSON array of names, or one name in each line. Raises ``DecodeError``."""
    text = answer.strip()
    names: object = text.split()
    if text.startswith(("[", "{", '"')):
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = None
    if not isinstance(names, list) or not all(isinstance(one, str) and _BOUND_ROLE.fullmatch(one) for one in names):
        raise DecodeError("the metadata service sent no usable list of roles", path="roles")
    return names
