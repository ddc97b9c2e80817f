"""A profile in the configuration file of Volcengine's command line ``ve``. Pure.

https://github.com/volcengine/volcengine-cli
"""

from attrs import field, fields, frozen

from volc_moderation.errors import ConfigurationError
from volc_moderation.printable import printable
from volc_moderation.volcengine.credentials.provider import NotConfiguredError
from volc_moderation.wire import load_json

#: The modes that this package refuses, with what to do instead.
_REFUSED_MODES = {
    "sso": "its keys need a browser; use a profile of mode ak, ramrolearn, oidc or ecsrole",
    "console-login": "its keys need a browser; use a profile of mode ak, ramrolearn, oidc or ecsrole",
    "ststoken": "use mode ak, which takes the session-token of the profile as well",
}
#: What each mode needs. Empty is ``ak``.
_NEEDS = {
    "ak": ("access_key", "secret_key"),
    "ramrolearn": ("access_key", "secret_key", "role_name", "account_id"),
    "oidc": ("role_trn", "oidc_token_file"),
    "ecsrole": (),
}


@frozen(kw_only=True)
class CLIProfile:
    """What a profile says about keys. Its field ``role_name`` is ``role-name`` in the file; empty texts are None."""

    mode: str
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    account_id: str | None = None
    role_name: str | None = None
    role_trn: str | None = None
    oidc_token_file: str | None = None
    policy: str | None = None


def read_profile(text: str, name: str | None) -> tuple[str, CLIProfile]:
    """Return a profile of the file, and its name. Its mode is one of ``ak``, ``ramrolearn``, ``oidc`` and ``ecsrole``.

    :param text: the content of the file.
    :param name: the name of the profile; None for the one that the file names as its current one, else ``default``.

    Raises ``NotConfiguredError`` if nobody named a profile, and there is no default one with keys, and
    ``ConfigurationError`` for a profile or a file that cannot be used.
    """
    config = load_json(text)
    if config is None:
        raise ConfigurationError("it is not a JSON object")
    current, profiles = config.get("current"), config.get("profiles")
    if not isinstance(current, str | None):
        raise ConfigurationError(f"current must be a text, not {type(current).__name__}")
    if not isinstance(profiles, dict | None):
        raise ConfigurationError(f"profiles must be an object, not {type(profiles).__name__}")
    name = name or current
    if not name and "default" not in (profiles or {}):
        raise NotConfiguredError("it names no current profile, and has none that is called default")
    chosen = name or "default"
    if chosen not in (profiles or {}):
        raise ConfigurationError(f"it has no profile {printable(chosen)}")
    profile = _parse(chosen, (profiles or {})[chosen])
    if profile.mode == "ak" and not name and not profile.access_key and not profile.secret_key:
        raise NotConfiguredError("its profile default has no keys")
    _check(chosen, profile)
    return chosen, profile


def _parse(name: str, value: object) -> CLIProfile:
    if not isinstance(value, dict):
        raise ConfigurationError(f"profile {printable(name)} must be an object, not {type(value).__name__}")
    texts: dict[str, str] = {}
    for attribute in fields(CLIProfile):
        key = attribute.name.replace("_", "-")
        text = value.get(key)
        if text is None:
            continue
        if not isinstance(text, str):
            raise ConfigurationError(f"profile {printable(name)}: {key} must be a text, not {type(text).__name__}")
        if text.strip():
            texts[attribute.name] = text.strip()
    mode = texts.pop("mode", "ak").lower()
    return CLIProfile(mode="ramrolearn" if mode == "iamrole" else mode, **texts)


def _check(name: str, profile: CLIProfile) -> None:
    mode = profile.mode
    if mode in _REFUSED_MODES:
        raise ConfigurationError(f"profile {printable(name)} has the mode {mode}: {_REFUSED_MODES[mode]}")
    if mode not in _NEEDS:
        raise ConfigurationError(f"profile {printable(name)} has the unknown mode {printable(mode)}")
    missing = [one.replace("_", "-") for one in _NEEDS[mode] if getattr(profile, one) is None]
    if missing:
        raise ConfigurationError(f"profile {printable(name)} of mode {mode} lacks {' and '.join(missing)}")
