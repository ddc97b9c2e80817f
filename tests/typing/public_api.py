"""What type checkers infer for the public API. This file is type-checked and never run.

A wrong type is an error of basedpyright, in ``test_strict_programs.py``, and of mypy, which checks all tests.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import assert_type

from volc_moderation import (
    APIError,
    Event,
    Quota,
    RedisQuotas,
    Reply,
    RetryPolicy,
    Verdict,
    VolcengineClient,
    WindowQuotas,
    ZegoClient,
)
from volc_moderation.action import Action
from volc_moderation.jobs import Job, JobEvent, JobHandle, Jobs, JobState, Lane
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.quotas import Quotas
from volc_moderation.volcengine import (
    Acknowledgement,
    CallbackType,
    DetectionTasks,
    ListDetectionTask,
    MediaType,
    OnlineUsers,
    StopWebcast,
    TokenLimit,
    WebCastTaskResult,
)
from volc_moderation.webhooks import UNVERIFIED, MemoryDedupeStore, RedisDedupeStore, Webhooks
from volc_moderation.zego import (
    AudioParam,
    CensorTask,
    CommandOutcome,
    Done,
    ForbidStreamRules,
    ForbidUserRules,
    IdentifyToken,
    Language,
    LoginOrder,
    Privilege,
    RTCStreamState,
    RuleExpiry,
    RuleType,
    SimpleStreamList,
    StartCensorAudioV2,
    User,
    UserCounts,
    UserList,
    UserStates,
    VideoParam,
)

# Clients


async def contexts() -> None:
    async with VolcengineClient(access_key="AK", secret_key="SK", deadline=5) as volcengine:
        assert_type(volcengine, VolcengineClient)
    async with ZegoClient.from_env(quotas=WindowQuotas({"CloseRoom": 5}), is_test=None) as zego:
        assert_type(zego, ZegoClient)
    async with RedisQuotas("redis://localhost") as quotas:
        assert_type(quotas, RedisQuotas)


async def volcengine_methods(client: VolcengineClient) -> None:
    assert_type(await client.ban_room_user(app_id="a"), Acknowledgement)
    assert_type(await client.ban_user_stream(app_id="a", room_id="r", user_id="u"), Acknowledgement)
    assert_type(
        await client.batch_send_room_unicast(app_id="a", from_="u", message="m", room_id="r", to=["v"]), Acknowledgement
    )
    assert_type(await client.dismiss_room(app_id="a", room_id="r"), Acknowledgement)
    assert_type(await client.get_room_online_users(app_id="a", room_id="r"), OnlineUsers)
    assert_type(await client.get_web_cast_task(app_id="a", room_id="r", task_id="t"), WebCastTaskResult)
    assert_type(await client.kick_user(app_id="a", room_id="r", user_id="u"), Acknowledgement)
    assert_type(
        await client.limit_token_privilege(app_id="a", room_id="r", user_id="u", token="t", forbidden_interval=60),
        TokenLimit,
    )
    assert_type(await client.list_detection_task(app_id="a", room_id="r"), DetectionTasks)
    assert_type(await client.send_broadcast(app_id="a", from_="u", message="m", room_id="r"), Acknowledgement)
    assert_type(
        await client.send_room_unicast(app_id="a", from_="u", message="m", room_id="r", to="v"), Acknowledgement
    )
    assert_type(await client.send_unicast(app_id="a", from_="u", message="m", to="v"), Acknowledgement)
    assert_type(await client.start_detection(app_id="a", room_id="r", media_type=1), Acknowledgement)
    assert_type(
        await client.start_webcast(
            app_id="a", room_id="r", task_id="t", user_id="u", source_url="https://example.com/"
        ),
        Acknowledgement,
    )
    assert_type(await client.stop_detection(app_id="a", room_id="r"), Acknowledgement)
    assert_type(await client.stop_webcast(app_id="a", room_id="r", task_id="t"), Acknowledgement)
    assert_type(await client.unban_user_stream(app_id="a", room_id="r", user_id="u"), Acknowledgement)
    assert_type(await client.update_ban_room_user_rule(app_id="a"), Acknowledgement)


async def zego_methods(client: ZegoClient) -> None:
    assert_type(await client.close_room(room_id="r"), Done)
    assert_type(await client.del_forbid_stream_rule(room_id="r", stream_id="s"), Done)
    assert_type(await client.del_forbid_user_rule(rule_type=2), Done)
    assert_type(await client.describe_forbid_stream_rules(room_id="r", stream_id=["s"]), ForbidStreamRules)
    assert_type(await client.describe_forbid_user_rules(rule_type=2), ForbidUserRules)
    assert_type(await client.describe_rtc_stream_state(stream_id="s"), RTCStreamState)
    assert_type(await client.describe_simple_stream_list(room_id="r"), SimpleStreamList)
    assert_type(await client.describe_user_list(room_id="r"), UserList)
    assert_type(await client.describe_user_num(room_id=["r"]), UserCounts)
    assert_type(await client.describe_users(room_id="r", user_id=["u"]), UserStates)
    assert_type(await client.forbid_rtc_stream(stream_id="s"), Done)
    assert_type(await client.forbid_rtc_streams(stream_id=["s"]), Done)
    assert_type(await client.generate_identify_token(), IdentifyToken)
    assert_type(client.iter_user_list(room_id="r"), AsyncIterator[User])
    assert_type(await client.kickout_user(room_id="r", user_id=["u"]), Done)
    assert_type(await client.resume_rtc_stream(stream_id="s"), Done)
    assert_type(await client.resume_rtc_streams(stream_id=["s"]), Done)
    assert_type(await client.send_custom_command(room_id="r", from_user_id="u", message_content="m"), CommandOutcome)
    assert_type(await client.set_forbid_stream_rule(room_id="r", stream_id="s"), Done)
    assert_type(await client.set_forbid_user_rule(rule_type=2, disabled_privilege=[1], effective_time=60), RuleExpiry)
    assert_type(await client.start_censor_audio(room_id="r", event_id="e", audio_language="zh"), CensorTask)
    assert_type(await client.start_censor_video(room_id="r", event_id="e", video_param=VideoParam()), CensorTask)
    assert_type(await client.stop_censor_audio(task_id="t"), Done)
    assert_type(await client.stop_censor_video(task_id="t"), Done)


async def calls(volcengine: VolcengineClient, zego: ZegoClient) -> None:
    listing = await volcengine.call(ListDetectionTask(app_id="a", room_id="r"), deadline=5, priority="bulk")
    assert_type(listing, Reply[DetectionTasks])
    assert_type(listing.result, DetectionTasks)
    assert_type(listing.request_id, str | None)
    assert_type(listing.attempts, int)
    assert_type(listing.waited, float)
    assert_type(await zego.call(StartCensorAudioV2(room_id="r", event_id="e", audio_language="zh")), Reply[CensorTask])
    assert_type(StopWebcast.quota, Quota)
    assert_type(volcengine.quota_of(StopWebcast), Quota)


async def options(volcengine: VolcengineClient, zego: ZegoClient) -> None:
    assert_type(volcengine.with_options(deadline=3, timeout=2, priority="bulk", retry=RetryPolicy()), VolcengineClient)
    assert_type(zego.with_options(), ZegoClient)
    assert_type(volcengine.quotas, Quotas)
    VolcengineClient(access_key="AK", secret_key="SK", app_id="app", version="2023-11-01")
    started = await volcengine.start_detection(room_id="r", media_type=MediaType.BOTH, callback_type=CallbackType.ALL)
    assert_type(started.request_id, str | None)
    assert_type(started.log_id, str | None)
    assert_type(volcengine.complete(StopWebcast(room_id="r", task_id="t")), Action[Acknowledgement])


async def choices(zego: ZegoClient, language: Language, later: str) -> None:
    await zego.start_censor_audio(
        room_id="r", event_id="audio_room", audio_language=language, risk_type_list=["DIRTY", later]
    )
    await zego.start_censor_audio(room_id="r", event_id=later, audio_language=later, return_all_text=True)
    await zego.set_forbid_user_rule(
        rule_type=RuleType.USER, disabled_privilege=[Privilege.LOGIN], effective_time=60, user_id="u"
    )
    await zego.set_forbid_user_rule(rule_type=1, disabled_privilege=[Privilege.LOGIN, 2], effective_time=60, ip="::1")
    await zego.describe_user_list(room_id="r", mode=LoginOrder.LAST)
    await zego.start_censor_video(
        room_id="r",
        event_id=later,
        video_param=VideoParam(risk_type_list=["QRCODE", later], return_all_img=True),
        audio_param=AudioParam(business_type_list=("SING", later), return_all_text=1, return_pre_text=False),
        return_finish_info=False,
    )
    await zego.set_forbid_stream_rule(room_id="r", stream_id="s", disable_audio=True, disable_video=0)
    assert_type((await zego.stop_censor_audio(task_id="t")).request_id, str | None)


def errors(error: APIError) -> None:
    assert_type(error.code, str | int)
    assert_type(error.retry_after, float | None)
    assert_type(error.action, str | None)
    assert_type(error.request_id, str | None)


# Jobs


async def jobs(client: VolcengineClient, action: Action[object]) -> None:
    async with Jobs("stops.db", clients=[client]) as opened:
        assert_type(opened, Jobs)
        handle = await opened.submit(StopWebcast(app_id="a", room_id="r", task_id="t"), delay=60)
        assert_type(handle, JobHandle[Acknowledgement])
        assert_type(await handle, Job[Acknowledgement])
        assert_type((await handle).result, Acknowledgement | None)
        assert_type(await handle.wait(), Job[Acknowledgement])
        assert_type(await handle.status(), Job[Acknowledgement] | None)
        assert_type(await opened.wait(handle), Job[Acknowledgement])
        assert_type(await opened.status(handle), Job[Acknowledgement] | None)
        assert_type(await opened.submit(action), JobHandle[object])
        assert_type(str(handle), str)
        assert_type(await opened.status("key"), Job[object] | None)
        assert_type(await opened.counts(), dict[JobState, int])
        job = await opened.wait("key")
        assert_type(job, Job[object])
        assert_type(job.state, JobState)
        handles: list[JobHandle[object]] = [handle, await opened.submit(action)]
        ended: list[Job[object]] = await asyncio.gather(*handles)
        by_key: dict[str, Job[object]] = {handle: await handle}
        assert_type((by_key[handle], *ended)[0].key, str)
        async for event in opened.events():
            assert_type(event, JobEvent)
            assert_type(event.lane, Lane)
            assert_type(event.code, str | int | None)


async def distributed_jobs(client: ZegoClient) -> None:
    async with DistributedJobs("redis://localhost", clients=[client]) as opened:
        assert_type(opened, DistributedJobs)
        handle = await opened.submit(StartCensorAudioV2(room_id="r", event_id="e", audio_language="zh"))
        assert_type(handle, JobHandle[CensorTask])
        job = await handle
        assert_type(job, Job[CensorTask])
        if job.result is not None:
            assert_type(job.result.task_id, str)
        assert_type(await asyncio.wait_for(handle, 3), Job[CensorTask])
        assert_type(await opened.wait(handle), Job[CensorTask])
        assert_type(await opened.status(handle), Job[CensorTask] | None)
        assert_type(await opened.wait("key"), Job[object])
        assert_type(await opened.status("key"), Job[object] | None)


# Webhooks


async def webhooks() -> None:
    async def handler(event: Event) -> None:
        assert_type(event.verdict, Verdict | str | None)
        assert_type(event.room_id, str | None)
        assert_type(event.vendor, str)

    app = Webhooks(handler, volcengine=["old", "new"], zego=UNVERIFIED, dedupe=MemoryDedupeStore(), within=None)
    assert_type(app, Webhooks)
    Webhooks(handler, zego="secret", dedupe=RedisDedupeStore("redis://localhost"))
