r"""The actions of Volcengine RTC: content moderation, and webcast (a web page rendered and pushed into a room).

Facts: https://www.volcengine.com/docs/6348/69828 and the pages named at each action.

The StopWebcast page gives a rule for "TaskId and the ids above": ``[a-zA-Z0-9_@\-\.]{1,128}``. It holds for the ids
that name a webcast, when one is started as well: what cannot be stopped must not be started. Other ids of apps, rooms
and users are passed on as they are.
"""

import enum
from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Action, Quota, api_version, unreadable_items, wire_name

R = TypeVar("R")

#: The vendor publishes no quota for the three detection actions, so theirs is learned.
UNPUBLISHED = Quota(20, published=False)


class VolcengineAction(Action[R], Generic[R]):
    """The base of Volcengine's actions. ``version`` is the API version: part of the query, not a parameter."""

    __slots__ = ()

    version: str


# Results


class MediaType(enum.IntEnum):
    """What is moderated."""

    VIDEO = 1
    AUDIO = 2
    BOTH = 3


class DetectionStatus(enum.IntEnum):
    """Whether a moderation runs."""

    RUNNING = 1
    FINISHED = 2


class WebCastStatus(enum.IntEnum):
    """Where a webcast stands."""

    UNKNOWN = 0
    NOT_STARTED = 1
    RUNNING = 2
    ENDED = 3
    FAILED = 4


@frozen(kw_only=True)
class Acknowledgement:
    """A plain yes.

    ``message`` is ``success``, ``ok``, or a hint such as that the task runs already. It is what proves the success, so
    it is never empty. Do not branch on its text.
    """

    message: str


@frozen(kw_only=True)
class DetectionTask:
    """The moderation of one user. ``create_time`` is in Unix seconds."""

    create_time: int
    media_type: MediaType | int
    status: DetectionStatus | int
    user_id: str
    room_id: str


@frozen(kw_only=True)
class DetectionTasks:
    """The result of ListDetectionTask: one task per user, none if the room was never moderated.

    ``unreadable`` has the items that do not fit, as they came. If not one item fits, the call raises ``DecodeError``.
    """

    event_data: list[DetectionTask] = field(factory=list)
    message: str
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class VideoSolution:
    """One resolution of a webcast.

    :param width: px, 50 to 1920 (1280); the vendor adjusts an odd number.
    :param height: px, 50 to 1080 (720); the vendor adjusts an odd number.
    :param frame_rate: frames per second, 1 to 60 (15).
    :param bitrate: kbps, 0 to 10000 (0: adaptive).
    """

    width: int | None = None
    height: int | None = None
    frame_rate: int | None = None
    bitrate: int | None = None


@frozen(kw_only=True)
class MonitorConfig:
    """How often a webcast is checked, in seconds; 0, the vendor's default, means never.

    :param blank_check_interval: for a blank page, 2 to 30.
    :param freeze_check_interval: for a page that does not change, 2 to 30.
    :param crash_check_interval: for a page whose script is dead, 0 to 30.
    """

    blank_check_interval: int | None = None
    freeze_check_interval: int | None = None
    crash_check_interval: int | None = None


@frozen(kw_only=True)
class EventNotifyConfig:
    """Whether the page itself reports its start and end.

    :param enable_event_notify: False by default.
    :param start_timeout: how long to wait for the start, 0 to 60 s, 0 for ever; only with ``enable_event_notify``.
    """

    enable_event_notify: bool | None = None
    start_timeout: int | None = None


@frozen(kw_only=True)
class WebCastTask:
    """A webcast. Times are in Unix milliseconds; an ``end_time`` of 0 means that it runs.

    ``stop_reason`` is empty while it runs, else such as ``StopByAPI``, ``StartTaskFailed``, ``ExceedMaxRunningTime``.
    """

    start_time: int | None = None
    end_time: int | None = None
    status: WebCastStatus | int | None = None
    stop_reason: str | None = None
    user_id: str | None = None
    source_url: str | None = field(default=None, metadata=wire_name("SourceURL"))
    max_running_time: int | None = None
    video_solutions: list[VideoSolution] = field(factory=list)
    monitor_config: MonitorConfig | None = None
    event_notify_config: EventNotifyConfig | None = None


@frozen(kw_only=True)
class WebCastTaskResult:
    """The result of GetWebCastTask."""

    web_cast_task: WebCastTask


# Moderation


@frozen(kw_only=True)
class StartDetection(VolcengineAction[Acknowledgement]):
    """Start the moderation of a room, or of one user in it.

    The account must have RTC and content moderation enabled. The very first start takes about a minute, in which
    content may pass unmoderated. Results come by callback only.

    Without ``user_id``, the task covers all users who publish now or later, at most 17 streams. It takes over the tasks
    of single users medium by medium: one for audio ends those for audio, and leaves those for video alone. A second
    start for the room adds its media to the task of the room.

    With ``user_id``, a task of the room that runs is an error. So ``InvalidParameter.TaskAlreadyExists`` is a
    ``ConflictError`` then, even after an attempt whose answer was lost: that task may be one for another medium, which
    does not cover the user.

    https://www.volcengine.com/docs/6348/104531 (2020-12-01), https://www.volcengine.com/docs/6348/1189716 (2023-11-01)

    :param callback: where results are POSTed, http or https; without one they go nowhere, or where the console says.
        The empty text counts as none.
    :param media_type: 1 video snapshots, 2 audio slices, 3 both (the vendor's default). Larger numbers are passed on.
    :param interval: ms between snapshots of video, 100 to 600000 (2000).
    :param duration: ms of a slice of audio, 1000 to 600000 (20000). A long slice delays results, and makes billing
        dearer: it rounds the last slice up.
    :param idle_sec: seconds without material after which the task ends by itself, 1 to 10800 (180).
    :param callback_type: 0 violations only (the vendor's default), 1 every result.
    """

    quota = UNPUBLISHED
    already_done_codes = frozenset({"InvalidParameter.TaskAlreadyExists"})
    identity_fields = ("app_id", "room_id", "user_id")
    result = Acknowledgement

    app_id: str = field(validator=validators.text())
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    callback: str | None = field(
        default=None, converter=validators.blank_as_none, validator=validators.optional(validators.url())
    )
    media_type: int | None = field(default=None, validator=validators.optional(validators.at_least(1)))
    interval: int | None = field(default=None, validator=validators.optional(validators.integer(100, 600_000)))
    duration: int | None = field(default=None, validator=validators.optional(validators.integer(1000, 600_000)))
    idle_sec: int | None = field(default=None, validator=validators.optional(validators.integer(1, 10_800)))
    callback_type: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    version: str = api_version("2020-12-01", "2023-11-01")

    def is_already_done(self, code: str | int) -> bool:
        """Tell whether a code means that the task of the room runs; of a single user's task none does."""
        return self.user_id is None and code in self.already_done_codes


@frozen(kw_only=True)
class StopDetection(VolcengineAction[Acknowledgement]):
    """Stop the moderation of a room, or of one user in it. Stopping one user while a task of the room runs is an error.

    https://www.volcengine.com/docs/6348/1189715 (2023-11-01), https://www.volcengine.com/docs/6348/104532 (2020-12-01)
    """

    quota = UNPUBLISHED
    already_done_codes = frozenset({"InvalidParameter.ErrorActiveTaskNotFound"})
    identity_fields = ("app_id", "room_id", "user_id")
    result = Acknowledgement

    app_id: str = field(validator=validators.text())
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    version: str = api_version("2023-11-01", "2020-12-01")


@frozen(kw_only=True)
class ListDetectionTask(VolcengineAction[DetectionTasks]):
    """List the moderations of a room, running and finished, or those of one user in it.

    A task of the room shows as the users who triggered moderation, each with the time of the first time: who published
    nothing does not show, and whether an item is of the room or of the user alone is not told.

    https://www.volcengine.com/docs/6348/104533 (2020-12-01), https://www.volcengine.com/docs/6348/1189714 (2023-11-01)
    """

    method = "GET"
    quota = UNPUBLISHED
    result = DetectionTasks

    app_id: str = field(validator=validators.text())
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    version: str = api_version("2020-12-01", "2023-11-01")


# Webcast

_VIDEO_SOLUTION = validators.model(
    VideoSolution,
    width=validators.integer(50, 1920),
    height=validators.integer(50, 1080),
    frame_rate=validators.integer(1, 60),
    bitrate=validators.integer(0, 10_000),
)
_MONITOR_CONFIG = validators.model(
    MonitorConfig,
    blank_check_interval=validators.integer(2, 30, off=0),
    freeze_check_interval=validators.integer(2, 30, off=0),
    crash_check_interval=validators.integer(0, 30),
)
_EVENT_NOTIFY_CONFIG = validators.model(
    EventNotifyConfig, enable_event_notify=validators.flag(), start_timeout=validators.integer(0, 60)
)


@frozen(kw_only=True)
class StartWebcast(VolcengineAction[Acknowledgement]):
    """Render a web page and push it into a room.

    Starting a task that runs already is a success with a hint, says the page of 2023-11-01.

    https://www.volcengine.com/docs/6348/119513 (2020-12-01), https://www.volcengine.com/docs/6348/1188207 (2023-11-01)

    :param task_id: yours to choose; with app and room it names the task.
    :param user_id: who publishes; must not be a real user, who would be removed from the room.
    :param source_url: the page, at most 1024 characters.
    :param max_running_time: seconds after which the task ends, 10 to 86400 (the vendor's default).
    :param video_solutions: at most two, the larger one is the size of the rendered page.
    """

    quota = Quota(150)
    already_done_codes = frozenset({"InvalidParameter.TaskAlreadyExists"})
    identity_fields = ("app_id", "room_id", "task_id")
    result = Acknowledgement

    app_id: str = field(validator=validators.identifier())
    room_id: str = field(validator=validators.identifier())
    task_id: str = field(validator=validators.identifier())
    user_id: str = field(validator=validators.text())
    source_url: str = field(validator=validators.url(most=1024), metadata=wire_name("SourceURL"))
    business_id: str | None = field(default=None, validator=validators.optional(validators.identifier()))
    max_running_time: int | None = field(default=None, validator=validators.optional(validators.integer(10, 86_400)))
    video_solutions: Sequence[VideoSolution] | None = field(
        default=None,
        converter=validators.as_tuple,
        validator=validators.optional(validators.list_of(_VIDEO_SOLUTION, most=2)),
    )
    monitor_config: MonitorConfig | None = field(default=None, validator=validators.optional(_MONITOR_CONFIG))
    event_notify_config: EventNotifyConfig | None = field(
        default=None, validator=validators.optional(_EVENT_NOTIFY_CONFIG)
    )
    version: str = api_version("2020-12-01", "2023-11-01")


@frozen(kw_only=True)
class StopWebcast(VolcengineAction[Acknowledgement]):
    """Stop a webcast, which app, room and task id name.

    The StopWebcast page of https://www.volcengine.com/docs/6348 (2020-12-01): QPS at most 150.
    """

    quota = Quota(150)
    already_done_codes = frozenset({"InvalidParameter.ErrorActiveTaskNotFound"})
    identity_fields = ("app_id", "room_id", "task_id")
    result = Acknowledgement

    app_id: str = field(validator=validators.identifier())
    room_id: str = field(validator=validators.identifier())
    task_id: str = field(validator=validators.identifier())
    version: str = api_version("2020-12-01", "2023-11-01")


@frozen(kw_only=True)
class GetWebCastTask(VolcengineAction[WebCastTaskResult]):
    """Ask where a webcast stands that was started in the last 72 hours.

    https://www.volcengine.com/docs/6348/204054 (2020-12-01), https://www.volcengine.com/docs/6348/1188209 (2023-11-01)
    """

    method = "GET"
    quota = Quota(60)
    result = WebCastTaskResult

    app_id: str = field(validator=validators.text())
    room_id: str = field(validator=validators.text())
    task_id: str = field(validator=validators.identifier())
    version: str = api_version("2020-12-01", "2023-11-01")
