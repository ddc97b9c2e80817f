r"""The actions of Volcengine RTC: content moderation, and webcast (a web page rendered and pushed into a room).

Sources: https://www.volcengine.com/docs/6348/69828 and the pages named at each action.

The StopWebcast page gives a rule for "TaskId and the ids above": ``[a-zA-Z0-9_@\-\.]{1,128}``. Here it applies to the
ids that identify a webcast, also when it is started: a task that cannot be stopped must not be started. Other ids of
apps, rooms and users are sent unchanged.
"""

import enum
from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import FROM_CLIENT, Action, Quota, api_version, unreadable_items, wire_name

R = TypeVar("R")

#: The vendor publishes no quota for the detection and message actions, so it is learned, starting from this one.
UNPUBLISHED_QUOTA = Quota(20, published=False)


class VolcengineAction(Action[R], Generic[R]):
    """The base of Volcengine's actions. ``version`` is the API version, which is sent in the query."""

    __slots__ = ()

    version: str | None


# Results


class MediaType(enum.IntEnum):
    """The kind of content that is moderated."""

    VIDEO = 1
    AUDIO = 2
    BOTH = 3


class DetectionStatus(enum.IntEnum):
    """The status of a moderation task."""

    RUNNING = 1
    FINISHED = 2


class WebCastStatus(enum.IntEnum):
    """The status of a webcast."""

    UNKNOWN = 0
    NOT_STARTED = 1
    RUNNING = 2
    ENDED = 3
    FAILED = 4


@frozen(kw_only=True)
class Acknowledgement:
    """Success without data.

    ``message`` is ``success``, ``ok``, or a hint, for example that the task is already running. It proves the success,
    so it is never empty. Do not branch on its text.
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
    """The result of ListDetectionTask: one task per user; no tasks if the room was never moderated.

    ``unreadable`` keeps unreadable items unchanged. If every item is unreadable, the call raises ``DecodeError``.
    """

    event_data: list[DetectionTask] = field(factory=list)
    message: str
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class VideoSolution:
    """One video stream of a webcast.

    :param width: in pixels, 50 to 1920; default 1280. The vendor adjusts an odd number.
    :param height: in pixels, 50 to 1080; default 720. The vendor adjusts an odd number.
    :param frame_rate: frames per second, 1 to 60; default 15.
    :param bitrate: in kbps, 0 to 10000; default 0, which means adaptive.
    """

    width: int | None = None
    height: int | None = None
    frame_rate: int | None = None
    bitrate: int | None = None


@frozen(kw_only=True)
class MonitorConfig:
    """How often a webcast is checked, in seconds. 0, the vendor's default, disables a check.

    :param blank_check_interval: between checks for a blank page, 2 to 30, or 0.
    :param freeze_check_interval: between checks for a page that does not change, 2 to 30, or 0.
    :param crash_check_interval: between checks for a page whose script has crashed, 0 to 30.
    """

    blank_check_interval: int | None = None
    freeze_check_interval: int | None = None
    crash_check_interval: int | None = None


@frozen(kw_only=True)
class EventNotifyConfig:
    """Whether the page itself reports its start and end.

    :param enable_event_notify: whether it does; default False.
    :param start_timeout: seconds to wait for the start, 0 to 60, where 0 means without limit. It applies only with
        ``enable_event_notify``.
    """

    enable_event_notify: bool | None = None
    start_timeout: int | None = None


@frozen(kw_only=True)
class WebCastTask:
    """A webcast. Times are in Unix milliseconds. An ``end_time`` of 0 means that it is running.

    ``stop_reason`` is empty while it is running. Later it is, for example, ``StopByAPI``, ``StartTaskFailed`` or
    ``ExceedMaxRunningTime``. ``max_running_time`` is in seconds.
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

    RTC and content moderation must be enabled for the account. The very first start takes about a minute, during which
    content may pass unmoderated. Results arrive by callback only.

    Without ``user_id``, the task covers all users who publish now or later, up to 17 streams. It replaces the tasks of
    single users for the same medium: a task for audio ends their audio tasks, and leaves their video tasks running. A
    second start for the room adds its media to the task of the room.

    With ``user_id``, a running task of the room is an error. ``InvalidParameter.TaskAlreadyExists`` is then a
    ``ConflictError``, even after an attempt whose response was lost: the running task may be for another medium and
    not cover the user.

    https://www.volcengine.com/docs/6348/104531 (2020-12-01), https://www.volcengine.com/docs/6348/1189716 (2023-11-01)

    :param callback: the http or https URL to which results are POSTed. Without it, results go to the URL that is set in
        the console, if any. An empty str counts as None.
    :param media_type: 1 video snapshots, 2 audio slices, 3 both (the vendor's default). Larger numbers are sent
        unchanged.
    :param interval: milliseconds between video snapshots, 100 to 600000; default 2000.
    :param duration: milliseconds of an audio slice, 1000 to 600000; default 20000. Long slices delay results and raise
        the bill, which rounds the last slice up.
    :param idle_sec: seconds without content after which the task ends by itself, 1 to 10800; default 180.
    :param callback_type: 0 reports violations only (the vendor's default), 1 every result.
    """

    quota = UNPUBLISHED_QUOTA
    already_done_codes = frozenset({"InvalidParameter.TaskAlreadyExists"})
    identity_fields = ("app_id", "room_id", "user_id")
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    callback: str | None = field(
        default=None, converter=validators.blank_as_none, validator=validators.optional(validators.url())
    )
    media_type: int | None = field(default=None, validator=validators.optional(validators.open_enum(1)))
    interval: int | None = field(default=None, validator=validators.optional(validators.integer(100, 600_000)))
    duration: int | None = field(default=None, validator=validators.optional(validators.integer(1000, 600_000)))
    idle_sec: int | None = field(default=None, validator=validators.optional(validators.integer(1, 10_800)))
    callback_type: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    version: str | None = api_version("2020-12-01", "2023-11-01")

    def is_already_done(self, code: str | int) -> bool:
        """Return whether a code means that the task of the room is running. No code proves it for a user's task."""
        return self.user_id is None and code in self.already_done_codes


@frozen(kw_only=True)
class StopDetection(VolcengineAction[Acknowledgement]):
    """Stop the moderation of a room, or of one user in it.

    Stopping the moderation of one user while a task of the room is running is an error.

    https://www.volcengine.com/docs/6348/1189715 (2023-11-01), https://www.volcengine.com/docs/6348/104532 (2020-12-01)
    """

    quota = UNPUBLISHED_QUOTA
    already_done_codes = frozenset({"InvalidParameter.ErrorActiveTaskNotFound"})
    identity_fields = ("app_id", "room_id", "user_id")
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    version: str | None = api_version("2023-11-01", "2020-12-01")


@frozen(kw_only=True)
class ListDetectionTask(VolcengineAction[DetectionTasks]):
    """List the moderations of a room, running and finished, or those of one user in it.

    A task of the room is listed as the users who triggered moderation, each with the time of the first trigger. Users
    who published nothing are not listed, and the list does not tell tasks of the room from tasks of single users.

    https://www.volcengine.com/docs/6348/104533 (2020-12-01), https://www.volcengine.com/docs/6348/1189714 (2023-11-01)
    """

    method = "GET"
    quota = UNPUBLISHED_QUOTA
    result = DetectionTasks

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    version: str | None = api_version("2020-12-01", "2023-11-01")


# Webcast

_VALID_VIDEO_SOLUTION = validators.model(
    VideoSolution,
    width=validators.integer(50, 1920),
    height=validators.integer(50, 1080),
    frame_rate=validators.integer(1, 60),
    bitrate=validators.integer(0, 10_000),
)
_VALID_MONITOR_CONFIG = validators.model(
    MonitorConfig,
    blank_check_interval=validators.integer(2, 30, off=0),
    freeze_check_interval=validators.integer(2, 30, off=0),
    crash_check_interval=validators.integer(0, 30),
)
_VALID_EVENT_NOTIFY_CONFIG = validators.model(
    EventNotifyConfig, enable_event_notify=validators.boolean(), start_timeout=validators.integer(0, 60)
)


@frozen(kw_only=True)
class StartWebcast(VolcengineAction[Acknowledgement]):
    """Render a web page and publish it in a room.

    According to the page of 2023-11-01, starting a task that is already running is a success with a hint.

    https://www.volcengine.com/docs/6348/119513 (2020-12-01), https://www.volcengine.com/docs/6348/1188207 (2023-11-01)

    :param task_id: an id of your choice; together with app and room it identifies the task.
    :param user_id: the user who publishes the page. It must not be a real user, who would be removed from the room.
    :param source_url: the URL of the page, at most 1024 characters.
    :param max_running_time: seconds after which the task ends, 10 to 86400 (the vendor's default).
    :param video_solutions: at most two. The larger one is the size of the rendered page.
    """

    quota = Quota(150)
    already_done_codes = frozenset({"InvalidParameter.TaskAlreadyExists"})
    identity_fields = ("app_id", "room_id", "task_id")
    result = Acknowledgement

    app_id: str | None = field(
        default=None, validator=validators.optional(validators.identifier()), metadata=FROM_CLIENT
    )
    room_id: str = field(validator=validators.identifier())
    task_id: str = field(validator=validators.identifier())
    user_id: str = field(validator=validators.text())
    source_url: str = field(validator=validators.url(most=1024), metadata=wire_name("SourceURL"))
    business_id: str | None = field(default=None, validator=validators.optional(validators.identifier()))
    max_running_time: int | None = field(default=None, validator=validators.optional(validators.integer(10, 86_400)))
    video_solutions: Sequence[VideoSolution] | None = field(
        default=None,
        converter=validators.as_tuple,
        validator=validators.optional(validators.list_of(_VALID_VIDEO_SOLUTION, most=2)),
    )
    monitor_config: MonitorConfig | None = field(default=None, validator=validators.optional(_VALID_MONITOR_CONFIG))
    event_notify_config: EventNotifyConfig | None = field(
        default=None, validator=validators.optional(_VALID_EVENT_NOTIFY_CONFIG)
    )
    version: str | None = api_version("2020-12-01", "2023-11-01")


@frozen(kw_only=True)
class StopWebcast(VolcengineAction[Acknowledgement]):
    """Stop a webcast. App, room and task id identify it.

    The StopWebcast page of https://www.volcengine.com/docs/6348 (2020-12-01) allows at most 150 calls per second.
    """

    quota = Quota(150)
    already_done_codes = frozenset({"InvalidParameter.ErrorActiveTaskNotFound"})
    identity_fields = ("app_id", "room_id", "task_id")
    result = Acknowledgement

    app_id: str | None = field(
        default=None, validator=validators.optional(validators.identifier()), metadata=FROM_CLIENT
    )
    room_id: str = field(validator=validators.identifier())
    task_id: str = field(validator=validators.identifier())
    version: str | None = api_version("2020-12-01", "2023-11-01")


@frozen(kw_only=True)
class GetWebCastTask(VolcengineAction[WebCastTaskResult]):
    """Get the status of a webcast that was started in the last 72 hours.

    https://www.volcengine.com/docs/6348/204054 (2020-12-01), https://www.volcengine.com/docs/6348/1188209 (2023-11-01)
    """

    method = "GET"
    quota = Quota(60)
    result = WebCastTaskResult

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    task_id: str = field(validator=validators.identifier())
    version: str | None = api_version("2020-12-01", "2023-11-01")
