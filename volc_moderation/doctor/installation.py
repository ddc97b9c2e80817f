"""What is installed: versions, extras, and the HTTP client that follows from them."""

import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata

from volc_moderation import __version__
from volc_moderation.doctor.finding import Fact, Finding, Subject
from volc_moderation.errors import ConfigurationError
from volc_moderation.http_clients import fastest_http_client, name_of

#: What every installation has, with the lowest version that works.
CORE = {"httpx": "0.28.1", "attrs": "24.2", "cattrs": "24.1.3", "aiolimiter": "1.2.1", "tenacity": "9"}
#: By extra: what it installs, with the lowest version that works.
EXTRAS = {
    "httpx2": {"httpx2": "2.16"},
    "aiohttp": {"aiohttp": "3.13", "httpx-aiohttp": "0.2"},
    "webhooks": {"starlette": "1.3.1"},
    "redis": {"redis": "5.2"},
    "emulator": {"h11": "0.16", "starlette": "1.3.1", "uvicorn": "0.35"},
    "cli": {"cyclopts": "4.14", "rich": "13.9", "sniffio": "1.3"},
    "otel": {"opentelemetry-api": "1.30"},
    "parquet": {"pyarrow": "21"},
}


def installed_versions() -> dict[str, str | None]:
    """Return the version of each distribution that the package can use; None if it is not installed."""
    names = dict.fromkeys((*CORE, *(name for packages in EXTRAS.values() for name in packages)))
    return {name: _version(name) for name in names}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def judge_versions(subject: Subject, versions: Mapping[str, str | None]) -> Finding:
    """Judge the versions of the package and of what it always needs."""
    detail = f"volc_moderation {__version__}, Python {platform.python_version()}"
    facts: dict[str, Fact] = {
        "volc_moderation": __version__,
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "distributions": dict(versions),
    }
    wrong = [text for name, least in CORE.items() if (text := _fault(name, least, versions.get(name)))]
    if wrong:
        step = "install the package anew: pip install --force-reinstall volc_moderation"
        return subject.failed("versions", f"{detail}; {', '.join(wrong)}", step, **facts)
    names = ", ".join(f"{name} {versions[name]}" for name in CORE)
    return subject.ok("versions", f"{detail}, {names}", **facts)


def judge_extras(subject: Subject, versions: Mapping[str, str | None]) -> Finding:
    """Judge the extras: one that is not installed is not needed, but one that is too old does not work."""
    installed = {extra: all(versions.get(name) is not None for name in packages) for extra, packages in EXTRAS.items()}
    absent = [extra for extra, is_installed in installed.items() if not is_installed]
    detail = ", ".join(extra for extra, is_installed in installed.items() if is_installed) or "none"
    if absent:
        detail += f"; not installed: {', '.join(absent)}"
    too_old = {
        extra: faults
        for extra, packages in EXTRAS.items()
        if installed[extra]
        and (faults := [text for name, least in packages.items() if (text := _fault(name, least, versions[name]))])
    }
    if not too_old:
        return subject.ok("extras", detail, **installed)
    extras = ",".join(too_old)
    every_fault = dict.fromkeys(fault for faults in too_old.values() for fault in faults)
    step = f"pip install --upgrade 'volc_moderation[{extras}]'"
    return subject.failed("extras", ", ".join(every_fault), step, **installed)


async def find_http_client(subject: Subject) -> Finding:
    """Report which HTTP client sends the calls."""
    try:
        async with fastest_http_client() as client:
            name = name_of(client)
    except ConfigurationError as error:
        step = "correct the variables for proxies and certificates, such as HTTPS_PROXY and SSL_CERT_FILE"
        return subject.failed("http_client", str(error), step, name=None)
    return subject.ok("http_client", name, name=name)


def _fault(name: str, least: str, version: str | None) -> str:
    """Return what is wrong with a version; empty if nothing is."""
    if version is None:
        return f"{name} is missing"
    return f"{name} {version} is older than {least}" if _numbers(version) < _numbers(least) else ""


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a release, without zeros at its end, so that 9 and 9.0 are the same."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
