"""What the actions of Volcengine RTC have in common.

Sources: https://www.volcengine.com/docs/6348/69828 and the pages named at each action. The StopWebcast page gives a
rule for "TaskId and the ids above". It applies to the ids that identify a webcast, also when it is started: a task that
cannot be stopped must not be started. Other ids of apps, rooms and users are sent unchanged.
"""

from typing import Generic, Literal, TypeVar

from attrs import frozen

from volc_moderation.action import Action, Quota, Result

R = TypeVar("R")

#: The vendor publishes no quota for the detection and message actions, so it is learned, starting from this one.
UNPUBLISHED_QUOTA = Quota(20, published=False)


#: What editors suggest for ``version``: the API versions of most actions. The vendor may add others at any time.
APIVersion = Literal["2020-12-01", "2023-11-01"]


class VolcengineAction(Action[R], Generic[R]):
    """The base of Volcengine's actions. ``version`` is the API version, which is sent in the query."""

    __slots__ = ()

    version: str | None


@frozen(kw_only=True)
class Acknowledgement(Result):
    """Success without data.

    ``message`` is ``success``, ``ok``, or a hint, for example that the task is already running. It proves the success,
    so it is never empty. Do not branch on its text.
    """

    message: str
