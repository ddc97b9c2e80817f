"""Where the credentials of a ``VolcengineClient`` come from: providers, which renew what expires."""

from typing import TYPE_CHECKING

from volc_moderation.lazy_imports import lazy_names

if TYPE_CHECKING:
    from volc_moderation.volcengine.credentials.chain import CredentialChain, default_credentials
    from volc_moderation.volcengine.credentials.cli_config import CLIConfigCredentials
    from volc_moderation.volcengine.credentials.ecs import ECSCredentials
    from volc_moderation.volcengine.credentials.fixed import EnvironmentCredentials, StaticCredentials
    from volc_moderation.volcengine.credentials.provider import (
        CredentialProvider,
        NotConfiguredError,
        RenewingProvider,
    )
    from volc_moderation.volcengine.credentials.roles import AssumeRoleCredentials, OIDCCredentials
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "chain": ["CredentialChain", "default_credentials"],
            "cli_config": ["CLIConfigCredentials"],
            "ecs": ["ECSCredentials"],
            "fixed": ["EnvironmentCredentials", "StaticCredentials"],
            "provider": ["CredentialProvider", "NotConfiguredError", "RenewingProvider"],
            "roles": ["AssumeRoleCredentials", "OIDCCredentials"],
        },
    )

__all__ = [
    "AssumeRoleCredentials",
    "CLIConfigCredentials",
    "CredentialChain",
    "CredentialProvider",
    "ECSCredentials",
    "EnvironmentCredentials",
    "NotConfiguredError",
    "OIDCCredentials",
    "RenewingProvider",
    "StaticCredentials",
    "default_credentials",
]
