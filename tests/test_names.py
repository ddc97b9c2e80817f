"""The public names, and the numbers that the vendors' documents give them."""

import enum
from typing import Literal, get_origin

import pytest

import volc_moderation
import volc_moderation.emulator
import volc_moderation.quotas
import volc_moderation.volcengine
import volc_moderation.webhooks
import volc_moderation.zego
from tests.actions import ACTIONS
from volc_moderation import errors
from volc_moderation.volcengine import VolcengineAction
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.zego import callbacks as zego_callbacks


@pytest.mark.parametrize(
    "module",
    [
        volc_moderation,
        volc_moderation.emulator,
        volc_moderation.quotas,
        volc_moderation.volcengine,
        volc_moderation.webhooks,
        volc_moderation.zego,
    ],
)
def test_all_is_sorted_and_whole(module: object) -> None:
    exported = module.__all__  # type: ignore[attr-defined]
    assert sorted(exported) == sorted(set(exported))
    for name in exported:
        value = getattr(module, name)
        assert get_origin(value) is Literal or value.__doc__  # an alias has no docstring, but a comment


def test_every_action_is_exported() -> None:
    for action in ACTIONS:
        vendor = volc_moderation.volcengine if issubclass(action, VolcengineAction) else volc_moderation.zego
        assert action.name in vendor.__all__
        assert action.result.__name__ in vendor.__all__


def test_every_error_is_public_and_in_the_tree() -> None:
    """The drawing at the top of ``errors.py`` names each error, and each is under the root."""
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ModerationError)
    }
    assert tree <= set(volc_moderation.__all__)
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in tree)


def test_the_numbers_of_the_documents() -> None:
    vendors: tuple[object, ...] = (
        volc_moderation.volcengine,
        volc_moderation.zego,
        volcengine_callbacks,
        zego_callbacks,
    )
    found = {
        name: {member.name: member.value for member in value}
        for vendor in vendors
        for name, value in vars(vendor).items()
        if isinstance(value, type) and issubclass(value, enum.IntEnum)
    }
    assert found == {
        "MediaType": {"VIDEO": 1, "AUDIO": 2, "BOTH": 3},
        "DetectionStatus": {"RUNNING": 1, "FINISHED": 2},
        "WebCastStatus": {"UNKNOWN": 0, "NOT_STARTED": 1, "RUNNING": 2, "ENDED": 3, "FAILED": 4},
        "WebcastChange": {"STARTED": 1, "REFRESHED": 4, "RESCHEDULED": 5},
        "UserStatus": {"OUT": 0, "IN": 1},
        "RuleType": {"IP": 1, "ROOM": 2, "USER": 3, "ROOM_USER": 4},
        "RiskSource": {"NONE": 1000, "TEXT": 1001, "PICTURE": 1002, "AUDIO": 1003},
    }
