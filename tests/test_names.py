"""The public names."""

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
