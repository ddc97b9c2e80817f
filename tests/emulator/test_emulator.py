"""The emulator decides as the vendors do: tasks, signatures, timestamps, nonces, quotas."""

import asyncio
import hashlib
import hmac
from typing import Any

import httpx
import pytest

from tests.actions import ACTIONS, MINIMAL_ARGUMENTS
from tests.doubles import KEYS, NOW, Vendors, loop_clock, volcengine_client, zego_client
from volc_moderation import (
    Action,
    APIError,
    ConflictError,
    InvalidRequestError,
    NoQuotas,
    NotFoundError,
    RetryPolicy,
    ThrottledError,
    VolcengineClient,
)
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.emulator import Emulator, Fault, Settings
from volc_moderation.volcengine import VolcengineAction
from volc_moderation.volcengine.signing import Signer, canonical_query

ROOM: dict[str, Any] = {"app_id": "app", "room_id": "room"}
TASK: dict[str, Any] = {**ROOM, "task_id": "task"}
PAGE: dict[str, Any] = {"user_id": "page", "source_url": "https://example.com/"}
AUDIO: dict[str, Any] = {"room_id": "room", "event_id": "audio_room", "audio_language": "zh", "risk_type_list": ["BAN"]}
ONCE = RetryPolicy(attempts=1)


async def detections(vendors: Vendors) -> list[tuple[str, int, int]]:
    """Return the user, the media and the status of each detection of the room."""
    tasks = await vendors.volcengine.list_detection_task(**ROOM)
    return [(task.user_id, int(task.media_type), int(task.status)) for task in tasks.event_data]


# Moderation at Volcengine


async def test_the_detection_of_a_room_is_started_and_stopped(vendors: Vendors) -> None:
    assert (await vendors.volcengine.start_detection(**ROOM)).message == "success"
    assert await detections(vendors) == [("emulated-publisher", 3, 1)]
    assert (await vendors.volcengine.stop_detection(**ROOM)).message == "success"
    assert await detections(vendors) == [("emulated-publisher", 3, 2)]
    assert (await vendors.volcengine.list_detection_task(app_id="app", room_id="other")).event_data == []


async def test_a_repeated_start_succeeds_with_a_hint(vendors: Vendors) -> None:
    await vendors.volcengine.start_detection(**ROOM, user_id="u")
    assert "has been started" in (await vendors.volcengine.start_detection(**ROOM, user_id="u")).message
    assert await detections(vendors) == [("u", 3, 1)]


async def test_a_room_level_start_replaces_single_streams(vendors: Vendors) -> None:
    await vendors.volcengine.start_detection(**ROOM, user_id="u")
    await vendors.volcengine.start_detection(**ROOM)
    assert await detections(vendors) == [("u", 3, 2), ("emulated-publisher", 3, 1)]


async def test_room_level_audio_leaves_single_stream_video(vendors: Vendors) -> None:
    """The four rules of the StartDetection page about single streams and rooms."""
    await vendors.volcengine.start_detection(**ROOM, user_id="audio", media_type=2)
    await vendors.volcengine.start_detection(**ROOM, user_id="video", media_type=1)
    await vendors.volcengine.start_detection(**ROOM, media_type=2)
    assert await detections(vendors) == [("audio", 2, 2), ("video", 1, 1), ("emulated-publisher", 2, 1)]
    await vendors.volcengine.start_detection(**ROOM, media_type=3)
    assert await detections(vendors) == [("audio", 2, 2), ("video", 1, 2), ("emulated-publisher", 3, 1)]


async def test_a_start_adds_another_medium_of_the_same_stream(vendors: Vendors) -> None:
    for medium, media in ((1, 1), (3, 3), (2, 3)):
        await vendors.volcengine.start_detection(**ROOM, user_id="u", media_type=medium)
        assert await detections(vendors) == [("u", media, 1)]


async def test_a_single_stream_of_a_moderated_room_is_refused(vendors: Vendors) -> None:
    await vendors.volcengine.start_detection(**ROOM)
    with pytest.raises(ConflictError, match="in progress"):
        await vendors.volcengine.start_detection(**ROOM, user_id="u")
    with pytest.raises(InvalidRequestError, match="cannot be stopped for one user"):
        await vendors.volcengine.stop_detection(**ROOM, user_id="u")


async def test_stopping_an_unknown_task_is_refused(vendors: Vendors) -> None:
    with pytest.raises(NotFoundError):
        await vendors.volcengine.stop_detection(**ROOM)
    with pytest.raises(NotFoundError):
        await vendors.volcengine.stop_webcast(**TASK)
    with pytest.raises(NotFoundError):
        await vendors.volcengine.get_web_cast_task(**TASK)
    with pytest.raises(InvalidRequestError, match="no such task"):
        await vendors.zego.stop_censor_audio(task_id="task")


async def test_a_webcast_is_started_and_stopped(vendors: Vendors) -> None:
    assert (await vendors.volcengine.start_webcast(**TASK, **PAGE)).message == "ok"
    assert "has been started" in (await vendors.volcengine.start_webcast(**TASK, **PAGE)).message
    running = (await vendors.volcengine.get_web_cast_task(**TASK)).web_cast_task
    assert (running.status, running.end_time, running.source_url) == (2, 0, "https://example.com/")
    assert running.start_time == pytest.approx(loop_clock() * 1000, abs=1000)
    assert (await vendors.volcengine.stop_webcast(**TASK)).message == "ok"
    ended = (await vendors.volcengine.get_web_cast_task(**TASK)).web_cast_task
    assert (ended.status, ended.stop_reason) == (3, "StopByAPI")
    assert ended.end_time == pytest.approx(loop_clock() * 1000, abs=1000)
    with pytest.raises(NotFoundError, match="has ended"):
        await vendors.volcengine.stop_webcast(**TASK)
    assert (await vendors.volcengine.start_webcast(**TASK, **PAGE)).message == "ok"


async def test_an_audio_moderation_may_be_stopped_twice(vendors: Vendors) -> None:
    task = await vendors.zego.start_censor_audio(**AUDIO)
    assert len(task.task_id) == 32
    await vendors.zego.stop_censor_audio(task_id=task.task_id)
    await vendors.zego.stop_censor_audio(task_id=task.task_id)


# Signatures


async def post(emulator: Emulator, headers: dict[str, str], query: str, body: bytes = b"{}") -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=emulator)) as client:
        return await client.post(f"http://host/?{query}", headers=headers, content=body)


def signed(
    now: float = NOW, query: str = "Action=StopDetection&Version=2023-11-01", body: bytes = b"{}"
) -> dict[str, str]:
    signer = Signer(VolcengineCredentials.make("AK", "SK"), region="cn-north-1")
    return signer.sign(method="POST", host="host", query=query, body=body, now=now, content_type="application/json")


#: The numbers and the HTTP statuses of the gateway's codes: https://www.volcengine.com/docs/6348/68677
GATEWAY = {
    "MissingParameter": (100002, 400),
    "MissingAuthenticationToken": (100003, 401),
    "MissingRequestInfo": (100004, 400),
    "InvalidTimestamp": (100006, 400),
    "InvalidActionOrVersion": (100008, 404),
    "InvalidAccessKey": (100009, 401),
    "SignatureDoesNotMatch": (100010, 401),
    "MethodNotAllowed": (100020, 405),
    "InvalidAuthorization": (100024, 400),
    "InvalidCredential": (100025, 400),
    "InvalidSecretToken": (100026, 401),
    "InvalidParameter.IllegalAppId": (None, 400),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Authorization": None}, "MissingAuthenticationToken"),
        ({"Authorization": "Basic x"}, "InvalidAuthorization"),
        ({"X-Date": None}, "MissingRequestInfo"),
        ({"X-Date": "2026-11-20"}, "InvalidTimestamp"),
        ({"now": NOW - 901}, "InvalidTimestamp"),
        ({"now": NOW + 901}, "InvalidTimestamp"),
        ({"now": NOW - 899}, "InvalidParameter.IllegalAppId"),
        ({"X-Content-Sha256": "0" * 64}, "SignatureDoesNotMatch"),
        ({"Content-Type": "text/plain"}, "SignatureDoesNotMatch"),
        ({"Host": "other"}, "SignatureDoesNotMatch"),
        ({"body": b"{} "}, "SignatureDoesNotMatch"),
        ({"query": "Action=StopDetection&Version=2020-12-01"}, "SignatureDoesNotMatch"),
        ({"X-Security-Token": "unsigned"}, "SignatureDoesNotMatch"),
        ({"sign": "Action=Unknown&Version=2023-11-01"}, "InvalidActionOrVersion"),
        ({"sign": "Action=StopDetection&Version=1999-01-01"}, "InvalidActionOrVersion"),
        ({"sign": "Action=StopDetection"}, "MissingParameter"),
        ({"sign": "Action=ListDetectionTask&Version=2020-12-01"}, "MethodNotAllowed"),
    ],
)
async def test_volcengine_checks_signatures(change: dict[str, Any], code: str) -> None:
    query = change.get("sign", "Action=StopDetection&Version=2023-11-01")
    headers = signed(change.get("now", NOW), query)
    for name in set(change) & {
        "Authorization",
        "X-Date",
        "X-Content-Sha256",
        "Content-Type",
        "Host",
        "X-Security-Token",
    }:
        if change[name] is None:
            del headers[name]
        else:
            headers[name] = change[name]
    emulator = Emulator(KEYS, clock=lambda: NOW)
    response = await post(emulator, headers, change.get("query", query), change.get("body", b"{}"))
    error = response.json()["ResponseMetadata"]["Error"]
    assert (error["Code"], (error.get("CodeN"), response.status_code)) == (code, GATEWAY[code])


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"access_key": "other"}, "InvalidAccessKey"),
        ({"secret_key": "other"}, "SignatureDoesNotMatch"),
        ({"region": "cn-south-1"}, "InvalidCredential"),
        ({"session_token": "other"}, "InvalidSecretToken"),
        ({}, None),
    ],
)
async def test_volcengine_checks_the_keys(settings: dict[str, str], code: str | None) -> None:
    emulator = Emulator(Settings(session_token="TOKEN"))
    keys = {"access_key": "AK", "secret_key": "SK", "session_token": "TOKEN"} | settings
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=emulator)) as http_client:
        client = VolcengineClient(**keys, http_client=http_client)  # type: ignore[arg-type]
        if code is None:
            await client.start_detection(**ROOM)
        else:
            with pytest.raises(APIError) as caught:
                await client.start_detection(**ROOM)
            assert (caught.value.code, (caught.value.code_n, caught.value.status)) == (code, GATEWAY[code])


async def test_client_and_emulator_encode_a_query_alike() -> None:
    """The emulator's own encoding agrees with the client's on reserved characters, spaces and other scripts."""
    query = canonical_query({"Action": "StopDetection", "Version": "2023-11-01", "X": "a b+c~*!'()/=&%?房间", "é": ""})
    response = await post(Emulator(KEYS, clock=lambda: NOW), signed(query=query), query)
    assert response.json()["ResponseMetadata"]["Error"]["Code"] == "InvalidParameter.IllegalAppId"


def zego_query(**change: str | None) -> str:
    """Return a signed query with some changes. None removes a parameter."""
    query: dict[str, str | None] = {
        "Action": "StopCensorAudioV2",
        "AppId": "1234567890",
        "SignatureNonce": "n",
        "Timestamp": str(int(NOW)),
        "SignatureVersion": "2.0",
        **change,
    }
    text = f"{query['AppId']}{query['SignatureNonce']}{KEYS.server_secret}{query['Timestamp']}"
    query.setdefault("Signature", hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
    return "&".join(f"{name}={value}" for name, value in query.items() if value is not None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 2),
        ({"AppId": "x"}, 100000001),
        ({"AppId": "7"}, 100000011),
        ({"Timestamp": None}, 100000002),
        ({"Timestamp": "soon"}, 100000003),
        ({"Timestamp": str(int(NOW) - 601)}, 100000004),
        ({"Timestamp": str(int(NOW) + 601)}, 100000004),
        ({"Timestamp": str(int(NOW) - 599)}, 2),
        ({"Signature": "0" * 32}, 100000005),
        ({"Action": None}, 100000006),
        ({"Action": "Unknown"}, 100000007),
        ({"SignatureNonce": None}, 100000008),
        ({"Signature": None}, 100000009),
        ({"SignatureVersion": None}, 100000013),
        ({"SignatureVersion": "1.0"}, 100000014),
    ],
)
async def test_zego_checks_the_common_parameters(change: dict[str, str | None], code: int) -> None:
    emulator = Emulator(KEYS, clock=lambda: NOW)
    response = await post(emulator, {}, zego_query(**change))
    assert (response.status_code, response.json()["Code"]) == (200, code)


async def test_zego_refuses_a_repeated_nonce() -> None:
    emulator = Emulator(KEYS, clock=lambda: NOW)
    codes = [(await post(emulator, {}, zego_query())).json()["Code"] for _ in range(2)]
    assert codes == [2, 100000005]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b"\xff", b"[" * 100_000),
        # Python reads these as JSON but cannot write them.
        *(b'{"RoomId": "\\ud800"}', b'{"\\udfff": 1}', b'{"RoomId": "\xed\xa0\x80"}', b'{"x": NaN}', b'{"x": [1e999]}'),
        b'{"x": ' + 20 * b"[" + 20 * b"]" + b"}",
        b'{"x": ' + 5000 * b"9" + b"}",
    ],
)
async def test_a_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    emulator = Emulator(KEYS, clock=lambda: NOW)
    volcengine = await post(emulator, signed(body=body), "Action=StopDetection&Version=2023-11-01", body)
    assert volcengine.json()["ResponseMetadata"]["Error"]["Code"] == "InvalidParameter.Unmarshal"
    assert (await post(emulator, {}, zego_query(), body)).json()["Code"] == 8


# Quotas


@pytest.mark.slow
@pytest.mark.looptime
async def test_the_quota_holds_in_any_second(vendors: Vendors) -> None:
    """Each vendor refuses the 151st call of any second with its own code; a second later calls are accepted again."""
    options: dict[str, Any] = {"http_client": vendors.http_client, "quotas": NoQuotas(), "retry": ONCE}
    client = volcengine_client(clock=loop_clock, **options)
    await asyncio.sleep(0.5)
    await asyncio.gather(*(client.start_webcast(**TASK, **PAGE) for _ in range(100)))
    await asyncio.sleep(0.6)
    await asyncio.gather(*(client.start_webcast(**TASK, **PAGE) for _ in range(50)))
    with pytest.raises(ThrottledError, match=r"FlowLimitExceeded\.QPSOverLimit"):
        await client.start_webcast(**TASK, **PAGE)
    await asyncio.sleep(0.5)
    await client.start_webcast(**TASK, **PAGE)
    zego = zego_client(clock=loop_clock, **options)
    outcomes = await asyncio.gather(*(zego.start_censor_audio(**AUDIO) for _ in range(103)), return_exceptions=True)
    assert [outcome.code for outcome in outcomes if isinstance(outcome, ThrottledError)] == [206, 206, 206]
    counts = vendors.emulator.counts()
    assert (counts["StartWebcast"]["throttled"], counts["StartWebcast"]["most_in_any_second"]) == (1, 151)
    assert (counts["StartCensorAudioV2"]["accepted"], counts["StartCensorAudioV2"]["throttled"]) == (100, 3)


@pytest.mark.looptime
async def test_settings_may_change_quotas_and_delays() -> None:
    settings = Settings(quotas={"StopDetection": 1}, delay=(0.1, 0.1))
    async with Vendors(settings, quotas=NoQuotas(), retry=ONCE) as vendors:
        began = asyncio.get_running_loop().time()
        with pytest.raises(NotFoundError):
            await vendors.volcengine.stop_detection(**ROOM)
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.2)
        with pytest.raises(ThrottledError):
            await vendors.volcengine.stop_detection(**ROOM)


# State and counts


async def test_a_user_is_listed_once(vendors: Vendors) -> None:
    for _ in range(2):
        await vendors.volcengine.start_detection(**ROOM, user_id="u")
        await vendors.volcengine.stop_detection(**ROOM, user_id="u")
    assert await detections(vendors) == [("u", 3, 2)]


async def test_reset_forgets_everything(vendors: Vendors) -> None:
    await vendors.volcengine.start_detection(**ROOM)
    vendors.emulator.play(Fault(kind="garbage"))
    vendors.emulator.reset()
    assert vendors.emulator.counts() == {}
    assert await detections(vendors) == []
    assert vendors.emulator.counts()["ListDetectionTask"]["faults"] == 0


@pytest.mark.looptime
async def test_a_refused_call_does_not_count_against_the_quota() -> None:
    """Nor does a fault for another action change the quota."""
    async with Vendors(Settings(quotas={"StopCensorAudioV2": 2}), quotas=NoQuotas(), retry=ONCE) as vendors:
        vendors.emulator.play(Fault(kind="code", code=50009, action="Other"))
        codes = []
        for pause in (0, 0.3, 0.3, 0.3, 0.2, 0):
            await asyncio.sleep(pause)
            with pytest.raises(APIError) as caught:
                await vendors.zego.stop_censor_audio(task_id="t")
            codes.append(caught.value.code)
    assert codes == [2, 2, 206, 206, 2, 206]


@pytest.mark.parametrize(
    ("day", "service", "signed_headers", "code"),
    [
        ("20261121", "rtc", "host;x-date", "InvalidParameter.IllegalAppId"),
        ("20200101", "rtc", "host;x-date", "InvalidCredential"),
        ("20261121", "iam", "host;x-date", "InvalidCredential"),
        ("20261121", "rtc", "x-date", "SignatureDoesNotMatch"),
        ("20261121", "rtc", "host", "SignatureDoesNotMatch"),
    ],
)
async def test_volcengine_checks_the_scope_and_the_signed_headers(
    day: str, service: str, signed_headers: str, code: str
) -> None:
    """Signed by hand, because the signer of this package cannot get these wrong."""
    query, date = "Action=StopDetection&Version=2023-11-01", "20261121T000000Z"
    scope = f"{day}/cn-north-1/{service}/request"
    values = {"host": "host", "x-date": date}
    lines = [f"{name}:{values[name]}" for name in signed_headers.split(";")]
    request = "\n".join(["POST", "/", query, *lines, "", signed_headers, hashlib.sha256(b"{}").hexdigest()])
    key = KEYS.secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    to_sign = f"HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    authorization = f"HMAC-SHA256 Credential=AK/{scope}, SignedHeaders={signed_headers}, Signature={signature}"
    emulator = Emulator(KEYS, clock=lambda: NOW)
    response = await post(emulator, {**values, "Authorization": authorization}, query)
    assert response.json()["ResponseMetadata"]["Error"]["Code"] == code


@pytest.mark.parametrize("made", [one for one in ACTIONS if one.quota.published], ids=lambda made: made.name)
async def test_the_quotas_are_those_of_the_documents(vendors: Vendors, made: type[Action[Any]]) -> None:
    """The client has a copy of its own. Calls that are refused for another reason are counted, too."""
    action = made(**MINIMAL_ARGUMENTS[made.name])
    version = {"Version": action.version} if isinstance(action, VolcengineAction) else {"SignatureVersion": "2.0"}
    await vendors.http_client.get("http://emulator/", params={"Action": made.name, **version})
    count = vendors.emulator.counts()[made.name]
    assert (count["quota"], count["received"], count["accepted"]) == (made.quota.limit, 1, 0)
    assert count["rejected"] == 1


async def test_a_refused_call_is_counted_as_rejected(vendors: Vendors) -> None:
    with pytest.raises(NotFoundError):
        await vendors.volcengine.stop_webcast(app_id="app", room_id="room", task_id="none")
    with pytest.raises(APIError):
        await vendors.zego.stop_censor_audio(task_id="none")
    for action in ("StopWebcast", "StopCensorAudioV2"):
        count = vendors.emulator.counts()[action]
        assert (count["accepted"], count["rejected"]) == (0, 1)


async def test_a_token_is_valid_for_an_hour_by_default(vendors: Vendors) -> None:
    assert (await vendors.zego.generate_identify_token()).remain_time == 3600
    assert (await vendors.zego.generate_identify_token(effective_time=60)).remain_time == 60
