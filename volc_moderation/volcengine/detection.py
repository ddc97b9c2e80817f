"""The actions of Volcengine RTC that moderate the content of rooms. Results arrive by callback only."""

import enum

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import FROM_CLIENT, Result, api_version, unreadable_items
from volc_moderation.volcengine.actions import UNPUBLISHED_QUOTA, Acknowledgement, APIVersion, VolcengineAction


class MediaType(enum.IntEnum):
    """The kind of content that is moderated."""

    #: Snapshots of the video.
    VIDEO = 1
    #: Slices of the audio.
    AUDIO = 2
    BOTH = 3


class CallbackType(enum.IntEnum):
    """Which results of a moderation are sent."""

    #: Only violations.
    VIOLATIONS = 0
    #: Every result, also those without a violation.
    ALL = 1


class DetectionStatus(enum.IntEnum):
    """The status of a moderation task."""

    RUNNING = 1
    FINISHED = 2


@frozen(kw_only=True)
class DetectionTask:
    """The moderation of one user. ``create_time`` is in Unix seconds."""

    create_time: int
    media_type: MediaType | int
    status: DetectionStatus | int
    user_id: str
    room_id: str


@frozen(kw_only=True)
class DetectionTasks(Result):
    """The result of ListDetectionTask: one task per user; no tasks if the room was never moderated.

    ``unreadable`` keeps unreadable items unchanged. If every item is unreadable, the call raises ``DecodeError``.
    """

    event_data: list[DetectionTask] = field(factory=list)
    message: str
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class StartDetection(VolcengineAction[Acknowledgement]):
    """Start the moderation of a room, or of one user in it.

    RTC and content moderation must be enabled for the account. The very first start takes about a minute, during
    which content may pass unmoderated. Results arrive by callback only.

    Without ``user_id``, the task covers all users who publish now or later, up to 17 streams. It replaces the tasks
    of single users for the same medium: a task for audio ends their audio tasks, and leaves their video tasks
    running. A second start for the room adds its media to the task of the room.

    With ``user_id``, a running task of the room is an error. ``InvalidParameter.TaskAlreadyExists`` is then a
    ``ConflictError``, even after an attempt whose response was lost: the running task may be for another medium and
    not cover the user.

    Quota: not published; it is learned, from 20 calls per second and account on.

    https://www.volcengine.com/docs/6348/104531 (2020-12-01),
    https://www.volcengine.com/docs/6348/1189716 (2023-11-01)

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param room_id: the room to moderate.
    :param user_id: the user to moderate; None (default) moderates all users of the room.
    :param callback: the http or https URL to which results are POSTed. Without it, results go to the URL that is
        set in the console, if any. An empty str counts as None.
    :param media_type: ``MediaType``, or its number: 1 video snapshots, 2 audio slices, 3 both (the vendor's
        default). Larger numbers are sent unchanged.
    :param interval: milliseconds between video snapshots, 100 to 600000; default 2000.
    :param duration: milliseconds of an audio slice, 1000 to 600000; default 20000. Long slices delay results and
        raise the bill, which rounds the last slice up.
    :param idle_sec: seconds without content after which the task ends by itself, 1 to 10800; default 180.
    :param callback_type: ``CallbackType``, or its number: 0 violations only (the vendor's default), 1 every result.
    :param version: ``2020-12-01`` or ``2023-11-01``. None means the client's ``version``, or else 2020-12-01:
        each call has the version of the vendor's page that it implements. The stop has 2023-11-01; the parameters
        are the same in both.
    :returns: ``Acknowledgement``: the task is running. If it was before, ``message`` may say so.
    :raises ConflictError: ``InvalidParameter.TaskAlreadyExists``: with ``user_id``, the room or the user is already
        moderated; ``FlowLimitExceeded.TaskNumberOverLimit``: too many tasks run at once.
    :raises PermissionDeniedError: ``AccessDenied.ServiceNotEnabled``: enable content moderation in the console;
        ``InvalidParameter.AccountIdMismatch``: the app belongs to another account.
    :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
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
    media_type: MediaType | int | None = field(default=None, validator=validators.optional(validators.open_enum(1)))
    interval: int | None = field(default=None, validator=validators.optional(validators.integer(100, 600_000)))
    duration: int | None = field(default=None, validator=validators.optional(validators.integer(1000, 600_000)))
    idle_sec: int | None = field(default=None, validator=validators.optional(validators.integer(1, 10_800)))
    callback_type: CallbackType | int | None = field(
        default=None, validator=validators.optional(validators.integer(0, 1))
    )
    version: APIVersion | str | None = api_version("2020-12-01", "2023-11-01")

    def is_already_done(self, code: str | int) -> bool:
        """Return whether a code means that the task of the room is running. No code proves it for a user's task."""
        return self.user_id is None and code in self.already_done_codes


@frozen(kw_only=True)
class StopDetection(VolcengineAction[Acknowledgement]):
    """Stop the moderation of a room, or of one user in it.

    Stopping the moderation of one user while a task of the room is running is an error.

    Quota: not published; it is learned, from 20 calls per second and account on.

    https://www.volcengine.com/docs/6348/1189715 (2023-11-01),
    https://www.volcengine.com/docs/6348/104532 (2020-12-01)

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param room_id: the room.
    :param user_id: the user whose moderation to stop; None (default) stops the task of the room.
    :param version: ``2023-11-01`` or ``2020-12-01``. None means the client's ``version``, or else 2023-11-01:
        each call has the version of the vendor's page that it implements. The start has 2020-12-01; the parameters
        are the same in both.
    :returns: ``Acknowledgement``: the task has ended.
    :raises NotFoundError: ``InvalidParameter.ErrorActiveTaskNotFound``: there is no such task, or it has ended.
        After an attempt whose response was lost, this counts as success. ``InvalidParameter.NotExistAppId``: no
        such app.
    """

    quota = UNPUBLISHED_QUOTA
    already_done_codes = frozenset({"InvalidParameter.ErrorActiveTaskNotFound"})
    identity_fields = ("app_id", "room_id", "user_id")
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    version: APIVersion | str | None = api_version("2023-11-01", "2020-12-01")


@frozen(kw_only=True)
class ListDetectionTask(VolcengineAction[DetectionTasks]):
    """List the moderations of a room, running and finished, or those of one user in it.

    A task of the room is listed as the users who triggered moderation, each with the time of the first trigger.
    Users who published nothing are not listed, and the list does not tell tasks of the room from tasks of single
    users.

    Quota: not published; it is learned, from 20 calls per second and account on.

    https://www.volcengine.com/docs/6348/104533 (2020-12-01),
    https://www.volcengine.com/docs/6348/1189714 (2023-11-01)

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param room_id: the room.
    :param user_id: the user; None (default) lists all users of the room.
    :param version: ``2020-12-01`` or ``2023-11-01``. None means the client's ``version``, or else 2020-12-01.
    :returns: ``DetectionTasks``: ``event_data`` has one ``DetectionTask`` for each user, none if the room was never
        moderated.
    :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
    :raises DecodeError: no item of the list can be read.
    """

    method = "GET"
    quota = UNPUBLISHED_QUOTA
    result = DetectionTasks

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    version: APIVersion | str | None = api_version("2020-12-01", "2023-11-01")
