"""What is known of an account before anything is sent: its address, where its keys come from, a harmless call."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas.permit import Quotas
from volc_moderation.renewed_keys import NoKeysError, NotConfiguredError
from volc_moderation.volcengine import ListDetectionTask
from volc_moderation.volcengine.client import BASE_URL as VOLCENGINE_BASE_URL
from volc_moderation.volcengine.credentials import CredentialChain
from volc_moderation.volcengine.credentials.provider import Provider
from volc_moderation.zego import DescribeUserNum
from volc_moderation.zego.client import BASE_URL as ZEGO_BASE_URL

#: By vendor: the address of an account that names none.
BASE_URLS = {"volcengine": VOLCENGINE_BASE_URL, "zego": ZEGO_BASE_URL}
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


async def keys_of(provider: Provider, name: str | None = None) -> Keys:
    """Return the keys of a provider at Volcengine.

    :param name: says what the provider is; None for its own name, or that of the provider that a chain has chosen.
    """
    try:
        credentials = await provider.credentials()
    except NoKeysError as error:
        if error.is_unconfigured:
            raise NotConfiguredError(error.reason) from None
        raise
    chosen = provider.chosen if isinstance(provider, CredentialChain) else provider
    return Keys(
        source=name or (chosen or provider).name,
        shown=f"access key {credentials.access_key[:4]}***",
        expires_at=credentials.expires_at,
        credentials=credentials,
    )
