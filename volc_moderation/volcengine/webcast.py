"""The actions of Volcengine RTC on webcasts: web pages that are rendered and published in a room."""

import enum
from collections.abc import Sequence

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import FROM_CLIENT, Quota, Result, api_version, wire_name
from volc_moderation.volcengine.actions import Acknowledgement, APIVersion, VolcengineAction


class WebCastStatus(enum.IntEnum):
    """The status of a webcast."""

    UNKNOWN = 0
    NOT_STARTED = 1
    RUNNING = 2
    ENDED = 3
    FAILED = 4


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
class WebCastTaskResult(Result):
    """The result of GetWebCastTask."""

    web_cast_task: WebCastTask


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

    Quota: 150 calls per second and account.

    https://www.volcengine.com/docs/6348/119513 (2020-12-01),
    https://www.volcengine.com/docs/6348/1188207 (2023-11-01)

    Ids of apps, rooms, tasks and businesses have 1 to 128 letters, digits, ``_``, ``@``, ``-`` and ``.``.

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param room_id: the room in which the page is published.
    :param task_id: an id of your choice; together with app and room it identifies the task.
    :param user_id: the user who publishes the page. It must not be a real user, who would be removed from the room.
    :param source_url: the http or https URL of the page, at most 1024 characters.
    :param business_id: an id of your choice for the business that the page belongs to; None for none.
    :param max_running_time: seconds after which the task ends, 10 to 86400 (the vendor's default).
    :param video_solutions: the video streams, at most 2; None means one with the vendor's defaults. The larger one
        is the size of the rendered page.
    :param monitor_config: how often the page is checked; None disables the checks.
    :param event_notify_config: whether the page reports its start and end; None means that it does not.
    :param version: ``2020-12-01`` or ``2023-11-01``. None means the client's ``version``, or else 2020-12-01.
    :returns: ``Acknowledgement``: the task is running. If it was before, ``message`` may say so.
    :raises ConflictError: ``InvalidParameter.TaskAlreadyExists``: the task is already running, which counts as
        success after an attempt whose response was lost; ``FlowLimitExceeded.TaskNumberOverLimit``: too many tasks
        run at once.
    :raises PermissionDeniedError: ``AccessDenied.ServiceNotEnabled``: enable webcasts in the console.
    :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
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
    version: APIVersion | str | None = api_version("2020-12-01", "2023-11-01")


@frozen(kw_only=True)
class StopWebcast(VolcengineAction[Acknowledgement]):
    """Stop a webcast. App, room and task id identify it.

    Quota: 150 calls per second and account.

    The StopWebcast page (2020-12-01) of https://www.volcengine.com/docs/6348

    :param app_id: the RTC app: 1 to 128 letters, digits, ``_``, ``@``, ``-`` and ``.``. None means the client's
        ``app_id``.
    :param room_id: the room, by the same rule.
    :param task_id: the id that the start gave, by the same rule.
    :param version: ``2020-12-01`` or ``2023-11-01``. None means the client's ``version``, or else 2020-12-01.
    :returns: ``Acknowledgement``: the task has ended.
    :raises NotFoundError: ``InvalidParameter.ErrorActiveTaskNotFound``: there is no such task, or it has ended.
        After an attempt whose response was lost, this counts as success. ``InvalidParameter.NotExistAppId``: no
        such app.
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
    version: APIVersion | str | None = api_version("2020-12-01", "2023-11-01")


@frozen(kw_only=True)
class GetWebCastTask(VolcengineAction[WebCastTaskResult]):
    """Get the status of a webcast that was started in the last 72 hours.

    Quota: 60 calls per second and account.

    https://www.volcengine.com/docs/6348/204054 (2020-12-01),
    https://www.volcengine.com/docs/6348/1188209 (2023-11-01)

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param room_id: the room.
    :param task_id: the id that the start gave: 1 to 128 letters, digits, ``_``, ``@``, ``-`` and ``.``.
    :param version: ``2020-12-01`` or ``2023-11-01``. None means the client's ``version``, or else 2020-12-01.
    :returns: ``WebCastTaskResult``: ``web_cast_task`` has the status, the times and the settings of the task.
    :raises NotFoundError: ``InvalidParameter.ErrorActiveTaskNotFound``: there is no such task;
        ``InvalidParameter.NotExistAppId``: there is no such app.
    """

    method = "GET"
    quota = Quota(60)
    result = WebCastTaskResult

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    task_id: str = field(validator=validators.identifier())
    version: APIVersion | str | None = api_version("2020-12-01", "2023-11-01")
