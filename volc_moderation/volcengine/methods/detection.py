"""The actions of ``detection.py`` as methods: ``python -m tests.method_source`` has written this file."""

from volc_moderation.client import Client
from volc_moderation.volcengine.actions import Acknowledgement, APIVersion
from volc_moderation.volcengine.detection import (
    CallbackType,
    DetectionTasks,
    ListDetectionTask,
    MediaType,
    StartDetection,
    StopDetection,
)


class DetectionMethods(Client):
    """One method for each action, which it creates and calls."""

    async def start_detection(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str | None = None,
        callback: str | None = None,
        media_type: MediaType | int | None = None,
        interval: int | None = None,
        duration: int | None = None,
        idle_sec: int | None = None,
        callback_type: CallbackType | int | None = None,
        version: APIVersion | str | None = None,
    ) -> Acknowledgement:
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
        action = StartDetection(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            callback=callback,
            media_type=media_type,
            interval=interval,
            duration=duration,
            idle_sec=idle_sec,
            callback_type=callback_type,
            version=version,
        )
        return (await self.call(action)).result

    async def stop_detection(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str | None = None,
        version: APIVersion | str | None = None,
    ) -> Acknowledgement:
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
        action = StopDetection(app_id=app_id, room_id=room_id, user_id=user_id, version=version)
        return (await self.call(action)).result

    async def list_detection_task(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str | None = None,
        version: APIVersion | str | None = None,
    ) -> DetectionTasks:
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
        action = ListDetectionTask(app_id=app_id, room_id=room_id, user_id=user_id, version=version)
        return (await self.call(action)).result
