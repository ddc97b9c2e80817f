"""The actions of ``webcast.py`` as methods: ``python -m tests.method_source`` has written this file."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.volcengine.actions import Acknowledgement, APIVersion
from volc_moderation.volcengine.webcast import (
    EventNotifyConfig,
    GetWebCastTask,
    MonitorConfig,
    StartWebcast,
    StopWebcast,
    VideoSolution,
    WebCastTaskResult,
)


class WebcastMethods(Client):
    """One method for each action, which it creates and calls."""

    async def start_webcast(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        task_id: str,
        user_id: str,
        source_url: str,
        business_id: str | None = None,
        max_running_time: int | None = None,
        video_solutions: Sequence[VideoSolution] | None = None,
        monitor_config: MonitorConfig | None = None,
        event_notify_config: EventNotifyConfig | None = None,
        version: APIVersion | str | None = None,
    ) -> Acknowledgement:
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
        action = StartWebcast(
            app_id=app_id,
            room_id=room_id,
            task_id=task_id,
            user_id=user_id,
            source_url=source_url,
            business_id=business_id,
            max_running_time=max_running_time,
            video_solutions=video_solutions,
            monitor_config=monitor_config,
            event_notify_config=event_notify_config,
            version=version,
        )
        return (await self.call(action)).result

    async def stop_webcast(
        self, *, app_id: str | None = None, room_id: str, task_id: str, version: APIVersion | str | None = None
    ) -> Acknowledgement:
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
        action = StopWebcast(app_id=app_id, room_id=room_id, task_id=task_id, version=version)
        return (await self.call(action)).result

    async def get_web_cast_task(
        self, *, app_id: str | None = None, room_id: str, task_id: str, version: APIVersion | str | None = None
    ) -> WebCastTaskResult:
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
        action = GetWebCastTask(app_id=app_id, room_id=room_id, task_id=task_id, version=version)
        return (await self.call(action)).result
