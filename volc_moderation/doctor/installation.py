"""What is installed: versions, extras, and which HTTP client would send."""

import platform
import sys
from collections.abc import Callable, Mapping
from importlib import metadata

from volc_moderation import __version__
from volc_moderation.doctor.finding import Finding, Subject
from volc_moderation.errors import ConfigurationError

#: By extra: the distributions that it installs.
EXTRAS = {
    "httpx2": ("httpx2",),
    "aiohttp": ("aiohttp", "httpx-aiohttp"),
    "webhooks": ("starlette",),
    "redis": ("redis",),
    "emulator": ("h11", "starlette", "uvicorn"),
    "cli": ("cyclopts", "rich"),
    "parquet": ("pyarrow",),
    "otel": ("opentelemetry-api",),
}
#: What every installation has.
CORE = ("httpx", "attrs", "cattrs", "aiolimiter", "tenacity")


def installed_versions() -> dict[str, str | None]:
    """Return the version of each distribution that the package can use; None if it is not installed."""
    names = dict.fromkeys((*CORE, *(name for names in EXTRAS.values() for name in names)))
    return {name: _version(name) for name in names}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def judge_versions(subject: Subject, versions: Mapping[str, str | None]) -> list[Finding]:
    """Report versions and extras, by what is installed."""
    present = {name: version for name, version in versions.items() if version is not None}
    missing = [name for name in CORE if versions.get(name) is None]
    listed = ", ".join(f"{name} {version}" for name, version in present.items())
    detail = f"volc_moderation {__version__}, Python {platform.python_version()}; {listed}"
    facts = {
        "volc_moderation": __version__,
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "distributions": dict(versions),
    }
    if missing:
        step = "install the package anew: pip install --force-reinstall volc_moderation"
        found = subject.failed("versions", f"missing: {', '.join(missing)}; {detail}", step, **facts)
    else:
        found = subject.ok("versions", detail, **facts)
    extras = {extra: all(versions.get(name) is not None for name in names) for extra, names in EXTRAS.items()}
    usable = [extra for extra, is_usable in extras.items() if is_usable]
    absent = [extra for extra, is_usable in extras.items() if not is_usable]
    words = ", ".join(usable) or "none"
    return [found, subject.ok("extras", words + (f"; without {', '.join(absent)}" if absent else ""), **extras)]


def judge_http_client(subject: Subject, find_name: Callable[[], str]) -> Finding:
    """Report which HTTP client sends the calls. ``find_name`` returns it, or raises ``ConfigurationError``."""
    try:
        name = find_name()
    except ConfigurationError as error:
        step = "correct the variables for proxies and certificates, such as HTTPS_PROXY and SSL_CERT_FILE"
        return subject.failed("http_client", str(error), step)
    return subject.ok("http_client", name, name=name)
