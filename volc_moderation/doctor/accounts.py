"""What is known of an account before anything is sent: its address, where its keys come from, a harmless call."""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.credentials import (
    VolcengineCredentials,
    volcengine_key_variables,
    zego_keys_from_env,
)
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas.permit import Quotas
from volc_moderation.renewed_keys import NoKeysError, NotConfiguredError
from volc_moderation.vendors import VENDORS
from volc_moderation.volcengine import ListDetectionTask, VolcengineClient, default_credentials
from volc_moderation.volcengine.client import BASE_URL as VOLCENGINE_BASE_URL
from volc_moderation.volcengine.credentials import CredentialChain
from volc_moderation.zego import DescribeUserNum
from volc_moderation.zego.client import BASE_URL as ZEGO_BASE_URL

#: The app and the room of the calls, which do not exist.
NOBODY = "volc-moderation-doctor"


@attrs.frozen
class Read:
    """A call that changes nothing.

    :param action: the action, with ids that do not exist.
    :param app_codes: the vendor's codes that say that the app is not the account's.
    """

    action: Action[Any]
    app_codes: frozenset[str | int] = frozenset()


#: The call of each vendor. A vendor without one is asked nothing.
READS: Mapping[str, Read] = {
    "volcengine": Read(
        ListDetectionTask(app_id=NOBODY, room_id=NOBODY),
        frozenset({"InvalidParameter.AccountIdMismatch", "AccessDenied.NoPermissionForApp", "NoPermissionForApp"}),
    ),
    "zego": Read(DescribeUserNum(room_id=[NOBODY])),
}


@attrs.frozen(kw_only=True)
class Keys:
    """The keys of an account.

    :param source: where they come from, in words.
    :param shown: what may be shown of them: the first four characters of an access key, or the AppId.
    :param expires_at: when they expire, in Unix seconds; None if they do not.
    :param credentials: the keys themselves, for a call to STS; None for a vendor without one.
    """

    source: str
    shown: str
    expires_at: float | None = None
    credentials: VolcengineCredentials | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Account:
    """An account that is checked.

    :param name: of the account; for one of the environment, that of its vendor.
    :param vendor: the name of the vendor.
    :param base_url: the address that its calls go to.
    :param find_keys: returns the keys. It raises ``NotConfiguredError`` if nothing is set up that they could come from,
        and another ``ModerationError`` if something is set up and gives no keys.
    :param open_client: returns a new client. Raises ``ConfigurationError``.
    """

    name: str
    vendor: str
    base_url: str
    find_keys: Callable[[], Awaitable[Keys]]
    open_client: Callable[[Quotas, AsyncHTTPClient], Client]


def environment_accounts() -> list[Account]:
    """Return the account of each vendor whose keys the environment may have."""
    known = {"volcengine": _volcengine_of_environment, "zego": _zego_of_environment}
    return [known[vendor]() for vendor in VENDORS if vendor in known]


def _volcengine_of_environment() -> Account:
    """Return the account whose client is like that of ``VolcengineClient.from_env()``."""
    chain = default_credentials()
    base_url = os.environ.get("VOLCENGINE_RTC_BASE_URL") or VOLCENGINE_BASE_URL

    def open_client(quotas: Quotas, http_client: AsyncHTTPClient) -> Client:
        return VolcengineClient(
            credentials=chain,
            account=os.environ.get("VOLCENGINE_ACCOUNT") or None,
            base_url=base_url,
            quotas=quotas,
            http_client=http_client,
        )

    return Account(
        name="volcengine",
        vendor="volcengine",
        base_url=base_url,
        find_keys=lambda: keys_of_chain(chain),
        open_client=open_client,
    )


async def keys_of_chain(chain: CredentialChain) -> Keys:
    """Return the keys of the first provider that has some."""
    try:
        credentials = await chain.credentials()
    except NoKeysError as error:
        if error.is_unconfigured:
            raise NotConfiguredError(error.reason) from None
        raise
    source = "credentials" if chain.chosen is None else chain.chosen.name
    variables = volcengine_key_variables()
    if source == "environment" and variables is not None:
        source = " and ".join(variables[:2])
    return Keys(
        source=source,
        shown=f"access key {credentials.access_key[:4]}***",
        expires_at=credentials.expires_at,
        credentials=credentials,
    )


def _zego_of_environment() -> Account:
    """Return the account whose client is that of ``ZegoClient.from_env()``."""

    async def find_keys() -> Keys:
        if not os.environ.get("ZEGO_APP_ID") and not os.environ.get("ZEGO_SERVER_SECRET"):
            raise NotConfiguredError("ZEGO_APP_ID and ZEGO_SERVER_SECRET are not set")
        app_id, _ = zego_keys_from_env()
        return Keys(source="ZEGO_APP_ID and ZEGO_SERVER_SECRET", shown=f"AppId {app_id}")

    return Account(
        name="zego",
        vendor="zego",
        base_url=os.environ.get("ZEGO_BASE_URL") or ZEGO_BASE_URL,
        find_keys=find_keys,
        open_client=lambda quotas, http_client: VENDORS["zego"].client.from_env(quotas=quotas, http_client=http_client),
    )
