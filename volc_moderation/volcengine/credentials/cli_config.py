"""Keys of the configuration file of Volcengine's command line ``ve``."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.printable import printable
from volc_moderation.volcengine.credentials.cli_profile import CLIProfile, read_profile
from volc_moderation.volcengine.credentials.ecs import ECSCredentials
from volc_moderation.volcengine.credentials.fixed import StaticCredentials
from volc_moderation.volcengine.credentials.key_file import read_key_file
from volc_moderation.volcengine.credentials.provider import (
    NotConfiguredError,
    Provider,
    RenewingProvider,
    fetch_from,
)
from volc_moderation.volcengine.credentials.roles import AssumeRoleCredentials, OIDCCredentials, oidc_endpoint
from volc_moderation.volcengine.credentials.sts import ENDPOINT, role_trn_of

DEFAULT_PATH = "~/.volcengine/config.json"


class CLIConfigCredentials(RenewingProvider):
    """Keys of a profile of the command line ``ve``, in the modes ``ak``, ``ramrolearn``, ``oidc`` and ``ecsrole``.

    ``iamrole`` is another name of ``ramrolearn``. The file is read at every renewal, and without an expiry once a
    minute; it is never written. The profile's region, endpoint, proxies and ``disable-ssl`` are for the command line.

    :param path: the file; None for ``VOLCENGINE_CLI_CONFIG_FILE``, else for ``~/.volcengine/config.json``.
    :param profile: the name of the profile; None for ``VOLCENGINE_PROFILE`` or ``VOLCSTACK_PROFILE``, else for the
        file's current one, else for ``default``.
    :param environ: the variables.
    :param sts_endpoint: the address of STS; None for ``VOLCENGINE_OIDC_STS_ENDPOINT`` in mode ``oidc``, and for the
        vendor's.
    :param clock: returns the Unix time.

    Raises ``ConfigurationError`` for a wrong option.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        profile: str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        sts_endpoint: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if path is not None and (not isinstance(path, (str, os.PathLike)) or not str(path)):
            raise ConfigurationError(f"path must be the path of a file, or None; got {describe(path)}")
        if profile is not None and (not isinstance(profile, str) or not profile):
            raise ConfigurationError(f"profile must be a str that is not empty, or None; got {describe(profile)}")
        super().__init__(f"CLI profile in {path or DEFAULT_PATH}", clock=clock)
        self._given_path = path
        self._given_profile = profile
        self._environ = environ
        self._sts_endpoint = sts_endpoint
        self._clock = clock
        #: The profile as it was last read, and the provider for it.
        self._profile: CLIProfile | None = None
        self._provider: Provider | None = None

    def is_configured(self) -> bool:
        """Return whether a file or a profile is named, or the file exists."""
        if self._path_given or self._profile_name:
            return True
        try:
            return _expanded(DEFAULT_PATH).exists()
        except (OSError, NotConfiguredError):
            return False

    @property
    def _path_given(self) -> str | os.PathLike[str] | None:
        return self._given_path or self._environ.get("VOLCENGINE_CLI_CONFIG_FILE")

    @property
    def _profile_name(self) -> str | None:
        names = self._given_profile, *map(self._environ.get, ("VOLCENGINE_PROFILE", "VOLCSTACK_PROFILE"))
        return next(filter(None, names), None)

    async def fetch(self) -> VolcengineCredentials:
        """Read the file, and get the keys that it describes."""
        if not self.is_configured():
            raise NotConfiguredError(f"there is no file {DEFAULT_PATH}")
        try:
            self._read(_expanded(self._path_given or DEFAULT_PATH), self._profile_name)
        except ConfigurationError as error:
            # Without the frames below, which hold what is in the file.
            raise error.with_traceback(None) from None
        assert self._provider is not None  # noqa: S101 - it has just been set
        try:
            return await fetch_from(self._provider)
        except NotConfiguredError as error:
            reason = error.message
        # The profile is what is configured, so that nobody looks elsewhere.
        raise ConfigurationError(reason)

    def _read(self, path: Path, given_name: str | None) -> None:
        """Read the file, and create a provider if the profile is another one than before."""
        if self._provider is None:
            self.rename(f"CLI profile in {path}")
        name, profile = read_profile(read_key_file(path, "the file", must_be_ours=True), given_name)
        if self._provider is None or profile != self._profile:
            self._provider, self._profile = self._provider_of(profile), profile
            self.rename(f"CLI profile {printable(name)} in {path} (mode {profile.mode})")
            self.account = self._provider.account

    def _provider_of(self, profile: CLIProfile) -> Provider:
        if profile.mode == "ecsrole":
            return ECSCredentials(
                profile.role_name,
                account=profile.account_id,
                environ=self._environ,
                sts_endpoint=self._sts_endpoint or ENDPOINT,
                clock=self._clock,
            )
        if profile.mode == "oidc":
            return OIDCCredentials(
                profile.role_trn or "",
                _expanded(profile.oidc_token_file or ""),
                policy=profile.policy,
                endpoint=self._sts_endpoint or oidc_endpoint(self._environ),
                clock=self._clock,
            )
        # Quotas and jobs of a long-term key belong to that key, as they do without a profile.
        account = profile.account_id if profile.session_token else None
        pair = StaticCredentials(
            profile.access_key or "", profile.secret_key or "", profile.session_token, account=account
        )
        if profile.mode == "ak":
            return pair
        return AssumeRoleCredentials(
            role_trn_of(profile.account_id or "", profile.role_name or ""),
            pair,
            policy=profile.policy,
            endpoint=self._sts_endpoint or ENDPOINT,
            clock=self._clock,
        )


def _expanded(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        reason = f"{path}: there is no home directory"
    raise NotConfiguredError(reason)
