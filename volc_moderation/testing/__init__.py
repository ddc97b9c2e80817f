"""A pytest plugin for projects that use this package: the emulator, and callbacks with valid signatures.

pytest loads it automatically, so the fixtures need no import. ``moderation_emulator`` needs the extra ``emulator``; the
callbacks need no extra.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from volc_moderation.lazy_imports import lazy_names

if TYPE_CHECKING:
    from volc_moderation.testing.emulator import ModerationEmulator
    from volc_moderation.testing.signed_callbacks import CALLBACK_SECRET, make_volcengine_callback, make_zego_callback
else:
    # pytest loads this module for all tests, also for those that do not use it, and gets every name that dir() lists.
    # So these names are not listed, and are imported when they are used.
    __getattr__, _ = lazy_names(
        __name__,
        {
            "emulator": ["ModerationEmulator"],
            "signed_callbacks": ["CALLBACK_SECRET", "make_volcengine_callback", "make_zego_callback"],
        },
    )

__all__ = [
    "CALLBACK_SECRET",
    "ModerationEmulator",
    "make_volcengine_callback",
    "make_zego_callback",
    "moderation_emulator",
    "volcengine_callback",
    "zego_callback",
]


@pytest.fixture(scope="session")
def _moderation_emulator() -> "Iterator[ModerationEmulator]":
    from volc_moderation.extras import require_extra  # noqa: PLC0415 - as above

    try:
        require_extra("emulator", used_by="moderation_emulator")
    except ModuleNotFoundError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    from volc_moderation.testing.emulator import ModerationEmulator  # noqa: PLC0415

    with ModerationEmulator() as emulator:
        yield emulator


@pytest.fixture
def moderation_emulator(
    _moderation_emulator: "ModerationEmulator", monkeypatch: pytest.MonkeyPatch
) -> "ModerationEmulator":
    """Both vendors in a process of their own, reset for each test. Clients that ``from_env()`` creates reach them."""
    _moderation_emulator.reset()
    for name, value in _moderation_emulator.environment.items():
        monkeypatch.setenv(name, value)
    return _moderation_emulator


@pytest.fixture
def volcengine_callback() -> Callable[..., bytes]:
    """Make the body of a MachineReviewResult. See ``make_volcengine_callback``."""
    from volc_moderation.testing.signed_callbacks import make_volcengine_callback  # noqa: PLC0415

    return make_volcengine_callback


@pytest.fixture
def zego_callback() -> Callable[..., bytes]:
    """Make the body of a callback of ZEGO. See ``make_zego_callback``."""
    from volc_moderation.testing.signed_callbacks import make_zego_callback  # noqa: PLC0415

    return make_zego_callback
