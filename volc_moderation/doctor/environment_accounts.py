"""The accounts of the environment: those of the clients that ``from_env()`` creates."""

import os

from volc_moderation.client import Client
from volc_moderation.credentials import volcengine_key_variables, zego_keys_from_env
from volc_moderation.doctor.accounts import BASE_URLS, Account, Keys, keys_of
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas.permit import Quotas
from volc_moderation.renewed_keys import NotConfiguredError
from volc_moderation.volcengine import VolcengineClient, default_credentials
from volc_moderation.zego import ZegoClient


def environment_accounts() -> list[Account]:
    """Return the account of each vendor whose keys the environment may have."""
    return [_volcengine(), _zego()]


def _volcengine() -> Account:
    chain = default_credentials()
    base_url = os.environ.get("VOLCENGINE_RTC_BASE_URL") or BASE_URLS["volcengine"]

    async def find_keys() -> Keys:
        variables = volcengine_key_variables()
        return await keys_of(chain, None if variables is None else " and ".join(variables[:2]))

    def open_client(quotas: Quotas, http_client: AsyncHTTPClient) -> Client:
        # Like that of from_env(): the first provider of the chain are the variables.
        return VolcengineClient(
            credentials=chain,
            account=os.environ.get("VOLCENGINE_ACCOUNT") or None,
            base_url=base_url,
            quotas=quotas,
            http_client=http_client,
        )

    return Account(
        name="volcengine", vendor="volcengine", base_url=base_url, find_keys=find_keys, open_client=open_client
    )


def _zego() -> Account:
    async def find_keys() -> Keys:
        if not os.environ.get("ZEGO_APP_ID") and not os.environ.get("ZEGO_SERVER_SECRET"):
            raise NotConfiguredError("ZEGO_APP_ID and ZEGO_SERVER_SECRET are not set")
        app_id, _ = zego_keys_from_env()
        return Keys(source="ZEGO_APP_ID and ZEGO_SERVER_SECRET", shown=f"AppId {app_id}")

    return Account(
        name="zego",
        vendor="zego",
        base_url=os.environ.get("ZEGO_BASE_URL") or BASE_URLS["zego"],
        find_keys=find_keys,
        open_client=lambda quotas, http_client: ZegoClient.from_env(quotas=quotas, http_client=http_client),
    )
