"""The emulator sends callbacks as the vendors do: signed, to the task's URL, repeatedly until acknowledged."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.doubles import KEYS, NOW, Vendors, loop_clock, zego_client
from tests.emulator.raw import VOLCENGINE, ZEGO, call_volcengine, call_zego
from volc_moderation import Event, Media, Verdict
from volc_moderation.emulator import Emulator, EmulatorProcess, Settings
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.webhooks import Webhooks
from volc_moderation.zego import AudioParam, VideoParam
from volc_moderation.zego import callbacks as zego_callbacks

ROOM: dict[str, Any] = {"app_id": "app", "room_id": "room"}
AUDIO: dict[str, Any] = {"room_id": "room", "event_id": "audio_room", "audio_language": "zh", "risk_type_list": ["BAN"]}
HERE = "https://app.example/callbacks"

pytestmark = [pytest.mark.looptime, pytest.mark.slow]


class Receiver:
    """A user's server. Records each callback, and gives the next of ``answers``; the last one from then on.

    An answer is a status, an exception, or a delay in seconds before status 200.
    """

    def __init__(self, *answers: Exception | float) -> None:
        self.received: list[tuple[float, str, bytes]] = []
        self._answers = list(answers)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.received.append((asyncio.get_running_loop().time(), request.url.path, request.content))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0] if self._answers else 200
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = 200
        return httpx.Response(answer)

    @property
    def delays(self) -> list[float]:
        times = [when for when, _, _ in self.received]
        return [round(later - earlier, 1) for earlier, later in itertools.pairwise(times)]


@asynccontextmanager
async def vendors_calling(receiver: Any, settings: Settings = KEYS) -> AsyncIterator[Vendors]:
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as client,
        Vendors(settings, receiver=client) as vendors,
    ):
        yield vendors


async def settled(vendors: Vendors) -> list[dict[str, Any]]:
    """Wait until each callback is delivered or lost, and return them."""
    async with asyncio.timeout(600):  # virtual time: longer than either vendor retries
        while any(callback["outcome"] == "pending" for callback in vendors.emulator.callbacks()):
            await asyncio.sleep(0.1)
    return vendors.emulator.callbacks()


async def test_volcengine_sends_the_results_of_moderations() -> None:
    receiver = Receiver()
    async with vendors_calling(receiver) as vendors:
        vendors.emulator.join("volcengine", "room", "user")
        assert vendors.emulator.report("volcengine", "room", "user") == 0  # nothing is moderated
        await vendors.volcengine.start_detection(**ROOM, callback=f"{HERE}/volc")
        assert vendors.emulator.report("volcengine", "room", "user") == 2
        assert vendors.emulator.report("volcengine", "room", "user", verdict="REVIEW", media="audio") == 1
        assert vendors.emulator.report("volcengine", "room", "user", verdict="PASS") == 0
        assert [one["outcome"] for one in await settled(vendors)] == 3 * ["delivered"]
    events = []
    for _, path, body in receiver.received:
        assert path == "/callbacks/volc"
        volcengine_callbacks.verify(body, KEYS.callback_secret, now=loop_clock(), within=5)
        events.append(volcengine_callbacks.parse(body))
    assert [(event.media, event.verdict) for event in events] == [
        (Media.VIDEO, Verdict.REJECT),
        (Media.AUDIO, Verdict.REJECT),
        (Media.AUDIO, Verdict.REVIEW),
    ]
    assert {(event.app_id, event.room_id, event.user_id) for event in events} == {("app", "room", "user")}
    assert len({event.dedupe_key for event in events}) == 3
    assert events[0].evidence.urls
    assert events[1].evidence.texts


async def test_a_task_reports_only_its_user_its_media_and_streams_that_are_not_muted() -> None:
    async with vendors_calling(Receiver()) as vendors:
        for user in ("one", "two"):
            vendors.emulator.join("volcengine", "room", user)
        options: dict[str, Any] = {"callback": HERE, "callback_type": 1, "media_type": 1}
        await vendors.volcengine.start_detection(**ROOM, user_id="one", **options)
        report = vendors.emulator.report
        assert report("volcengine", "room", "one", verdict="PASS") == 1
        assert report("volcengine", "room", "one", media="audio") == 0
        assert report("volcengine", "room", "two") == 0
        await vendors.volcengine.ban_user_stream(**ROOM, user_id="one", audio=False)
        assert report("volcengine", "room", "one") == 0
        await vendors.volcengine.unban_user_stream(**ROOM, user_id="one")
        assert report("volcengine", "room", "one") == 1
        await vendors.volcengine.limit_token_privilege(**ROOM, user_id="one", token="t", forbidden_interval=60)
        assert report("volcengine", "room", "one") == 0
        await asyncio.sleep(61)
        assert report("volcengine", "room", "one") == 1
        await vendors.volcengine.stop_detection(**ROOM, user_id="one")
        assert report("volcengine", "room", "one") == 0
        with pytest.raises(ValueError, match="not in the room"):
            report("volcengine", "room", "nobody")
        with pytest.raises(ValueError, match="verdict must be"):
            report("volcengine", "room", "one", verdict="BAD")
        with pytest.raises(ValueError, match="media must be"):
            report("volcengine", "room", "one", media="smell")


@pytest.mark.parametrize(
    ("answers", "delays", "outcome"),
    [
        ((200,), [], "delivered"),
        ((500, 200), [1.0], "delivered"),
        ((204,), [1.0, 1.0], "lost"),  # Volcengine accepts only 200
        ((401,), [1.0, 1.0], "lost"),
        ((httpx.ConnectError("unavailable"), 200), [1.0], "delivered"),
        ((6.0, 200), [6.0], "delivered"),  # after 5 s without an answer
    ],
)
async def test_volcengine_tries_three_times(answers: Any, delays: Any, outcome: str) -> None:
    receiver = Receiver(*answers)
    async with vendors_calling(receiver) as vendors:
        vendors.emulator.join("volcengine", "room", "user")
        await vendors.volcengine.start_detection(**ROOM, callback=HERE, media_type=2)
        vendors.emulator.report("volcengine", "room", "user")
        (callback,) = await settled(vendors)
    assert receiver.delays == delays
    assert callback["outcome"] == outcome
    assert callback["attempts"] == len(receiver.received) == len(callback["statuses"])
    assert len({body for _, _, body in receiver.received}) == 1  # with the same EventId


async def test_zego_tries_six_times() -> None:
    receiver = Receiver(503)
    async with vendors_calling(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        (callback,) = await settled(vendors)
    assert receiver.delays == [2, 4, 8, 16, 32]
    assert (callback["outcome"], callback["statuses"]) == ("lost", 6 * [503])


@pytest.mark.parametrize(("verdict", "hits"), [("PASS", 0), ("REVIEW", 1), ("REJECT", 1)])
async def test_a_result_that_passes_has_no_hits(verdict: str, hits: int) -> None:
    receiver, url = Receiver(), f"{HERE}/zego"
    async with vendors_calling(receiver) as vendors:
        for vendor in ("volcengine", "zego"):
            vendors.emulator.join(vendor, "room", "user", stream_id="s" if vendor == "zego" else None)
        await vendors.volcengine.start_detection(**ROOM, callback=f"{HERE}/volc", callback_type=1)
        video = VideoParam(risk_type_list=["QRCODE"], result_callback_url=url, return_all_img=1)
        audio = AudioParam(business_type_list=["AGE"], result_callback_url=url, return_all_text=1)
        await vendors.zego.start_censor_video(room_id="room", event_id="e", video_param=video, audio_param=audio)
        for vendor in ("volcengine", "zego"):
            assert vendors.emulator.report(vendor, "room", "user", verdict=verdict) == 2
        await settled(vendors)
    risk_sources = {}
    for _, path, body in receiver.received:
        fields = json.loads(body)
        if path.endswith("volc"):
            assert (b"emulated_model" in body) == bool(hits)
        else:
            detail = fields["Detail"]
            assert len(detail["RiskInfoList"]) == hits
            risk_sources[fields["Event"]] = detail["RiskDetail"]["RiskSource"]
    assert len(receiver.received) == 4
    assert risk_sources == {
        "censor_video_v2_img_result": 1002 if hits else 1000,
        "censor_video_v2_audio_result": 1001 if hits else 1000,
    }


async def test_zego_accepts_any_2xx() -> None:
    receiver = Receiver(204)
    async with vendors_calling(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        assert [one["outcome"] for one in await settled(vendors)] == ["delivered"]


async def test_every_event_of_zego() -> None:
    receiver = Receiver()
    options: dict[str, Any] = {"risk_type_list": ["BAN"], "result_callback_url": HERE, "status_callback_url": HERE}
    async with vendors_calling(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user", stream_id="s_1")
        audio = await vendors.zego.start_censor_audio(
            **AUDIO, result_callback_url=HERE, status_callback_url=HERE, return_finish_info=1
        )
        video = await vendors.zego.start_censor_video(
            room_id="room",
            event_id="live_streaming",
            video_param=VideoParam(**options, return_all_img=1),
            audio_param=AudioParam(**options),
            return_finish_info=1,
        )
        assert vendors.emulator.report("zego", "room", "user") == 3
        assert vendors.emulator.report("zego", "room", "user", verdict="PASS") == 1
        await asyncio.sleep(30)
        await vendors.zego.stop_censor_audio(task_id=audio.task_id)
        await vendors.zego.stop_censor_video(task_id=video.task_id)
        await vendors.zego.stop_censor_video(task_id=video.task_id)  # it has ended already
        assert vendors.emulator.report("zego", "room", "user") == 0
        await settled(vendors)
    events: list[Any] = []
    for _, _, body in receiver.received:
        zego_callbacks.verify(body, KEYS.callback_secret, now=loop_clock(), within=60)
        events.append(zego_callbacks.parse(body))
    assert sorted(event.name for event in events) == [
        "censor_audio_v2_result",
        "censor_audio_v2_status",
        "censor_video_v2_audio_result",
        "censor_video_v2_audio_status",
        "censor_video_v2_img_result",
        "censor_video_v2_img_result",
        "censor_video_v2_img_status",
    ]
    by_name = {event.name: event for event in events}
    assert by_name["censor_audio_v2_result"].user_id == "user"
    assert by_name["censor_video_v2_audio_result"].stream_id == "s_1"
    assert by_name["censor_video_v2_audio_status"].aux_info.censor_stream_time == 30
    assert {event.task_id for event in events} == {audio.task_id, video.task_id}
    assert len({event.dedupe_key for event in events}) == 7
    assert {
        name: event.data["Detail"].keys() & {"AudioText", "Content"}
        for name, event in by_name.items()
        if "_result" in name
    } == {
        "censor_audio_v2_result": {"AudioText"},
        "censor_video_v2_audio_result": {"Content"},
        "censor_video_v2_img_result": set(),
    }
    for event in events:
        assert (event.data["Code"], event.data["Message"], event.data.get("Status", 0)) == (0, "success", 0)
        if event.name.endswith(("audio_result", "v2_result")):
            aux = event.data["AuxInfo"]
            began, ended = aux["ProcessBeginTime"] / 1000, aux["ProcessFinishTime"] / 1000
            assert NOW - 1 < began < NOW + 1
            assert ended - began == pytest.approx(0.36, abs=0.001)
    passed = [event for event in events if event.verdict == Verdict.PASS]
    assert [(event.name, event.reasons) for event in passed] == [("censor_video_v2_img_result", ())]
    assert all(abs(event.occurred_at.timestamp() - NOW) < 60 for event in events)


async def test_a_muted_stream_is_not_reported() -> None:
    async with vendors_calling(Receiver()) as vendors:
        vendors.emulator.join("zego", "room", "user", stream_id="s")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        await vendors.zego.set_forbid_stream_rule(room_id="room", stream_id="s", disable_audio=1, effective_time=60)
        assert vendors.emulator.report("zego", "room", "user") == 0
        await asyncio.sleep(61)
        assert vendors.emulator.report("zego", "room", "user") == 1
        await vendors.zego.forbid_rtc_stream(stream_id="s")
        assert vendors.emulator.report("zego", "room", "user") == 0


async def test_report_every_reports_all_users_periodically() -> None:
    """Every five seconds; results that pass only if the task asks for them."""
    receiver = Receiver()
    async with vendors_calling(receiver, Settings(report_every=5)) as vendors:
        vendors.emulator.join("volcengine", "room", "bad", verdict="REJECT")
        vendors.emulator.join("volcengine", "room", "good")
        vendors.emulator.join("zego", "room", "doubtful", verdict="REVIEW")
        await vendors.volcengine.start_detection(**ROOM, callback=f"{HERE}/volcengine", media_type=1)
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=f"{HERE}/zego")
        await asyncio.sleep(16)
        await vendors.volcengine.stop_detection(**ROOM)
        vendors.emulator.leave("zego", "room", "doubtful")
        await asyncio.sleep(20)
    assert [path for _, path, _ in receiver.received] == 3 * ["/callbacks/volcengine", "/callbacks/zego"]
    assert receiver.delays == [0, 5, 0, 5, 0]


async def test_a_handler_can_stop_what_is_reported() -> None:
    """The handler of a reported user kicks the user out, so the user is not reported again."""
    events: list[Event] = []
    running: list[Vendors] = []

    async def kick_out(event: Event) -> None:
        events.append(event)
        assert event.room_id is not None
        assert event.user_id is not None
        await running[0].zego.kickout_user(room_id=event.room_id, user_id=[event.user_id])

    app = Webhooks(kick_out, zego=KEYS.callback_secret, clock=loop_clock, within=60)
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client,
        Vendors(Settings(report_every=5), receiver=client) as vendors,
    ):
        running.append(vendors)
        for user in ("bad", "good"):
            vendors.emulator.join("zego", "room", user, verdict="REJECT" if user == "bad" else "PASS")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url="http://app/zego")
        await asyncio.sleep(31)
        assert [user.user_id async for user in vendors.zego.iter_user_list(room_id="room")] == ["good"]
    assert [event.user_id for event in events] == ["bad"]


async def test_no_callbacks_go_to_other_machines_by_default(vendors: Vendors) -> None:
    for user, url in enumerate(("https://example.com/", "http://10.0.0.1/", "http://localhost.example.com/")):
        vendors.emulator.join("volcengine", "room", str(user))
        await vendors.volcengine.start_detection(**ROOM, user_id=str(user), callback=url, media_type=1)
        vendors.emulator.report("volcengine", "room", str(user))
    assert [(one["outcome"], one["attempts"]) for one in vendors.emulator.callbacks()] == 3 * [
        ("not on this machine", 0)
    ]


@pytest.mark.looptime(False)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_callbacks_go_to_this_machine_by_default(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They ignore a proxy of the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    received: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(respond, "0.0.0.0") as server, Vendors() as vendors:  # noqa: S104 - several loopback addresses
        url = f"http://{host}:{server.sockets[0].getsockname()[1]}/here"
        vendors.emulator.join("volcengine", "room", "user")
        await vendors.volcengine.start_detection(**ROOM, callback=url, media_type=1)
        for _ in range(2):
            vendors.emulator.report("volcengine", "room", "user")
        async with asyncio.timeout(10):
            while any(callback["outcome"] == "pending" for callback in vendors.emulator.callbacks()):
                await asyncio.sleep(0.01)
        assert [one["outcome"] for one in vendors.emulator.callbacks()] == ["delivered", "delivered"]
        own = vendors.emulator._deliveries._own_client
        assert own is not None
    assert own.is_closed
    assert received == 2 * [b"POST /here HTTP/1.1\r\n"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:0/",
        "not a URL",
        "example.com",
        "ftp://127.0.0.1/",
        "http://",
        "http://[",
        "http://127.0.0.1:99999/",
        "//a/",
    ],
)
async def test_malformed_addresses_are_not_called(url: str) -> None:
    """Both vendors accept them in a start, and moderate."""
    receiver = Receiver()
    async with vendors_calling(receiver) as vendors:
        for vendor in ("volcengine", "zego"):
            vendors.emulator.join(vendor, "room", "user")
        start = {**VOLCENGINE["StartDetection"], "Callback": url, "MediaType": 1}
        assert (await call_volcengine(vendors.emulator, "StartDetection", start))[0] is None
        start = {**ZEGO["StartCensorAudioV2"], "ResultCallbackUrl": url}
        assert (await call_zego(vendors.emulator, "StartCensorAudioV2", start))[0] == 0
        for vendor in ("volcengine", "zego"):
            assert vendors.emulator.report(vendor, "room", "user") == 1
        outcomes = [(one["outcome"], one["attempts"]) for one in await settled(vendors)]
    assert outcomes == 2 * [("not an address", 0)]
    assert receiver.received == []


async def test_an_empty_address_means_no_callbacks() -> None:
    async with vendors_calling(Receiver()) as vendors:
        vendors.emulator.join("volcengine", "room", "user")
        start = {**VOLCENGINE["StartDetection"], "Callback": ""}
        assert (await call_volcengine(vendors.emulator, "StartDetection", start))[0] is None
        assert vendors.emulator.report("volcengine", "room", "user") == 0


async def test_reset_cancels_pending_callbacks() -> None:
    receiver = Receiver(500)
    async with vendors_calling(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        await asyncio.sleep(3)
        vendors.emulator.reset()
        assert vendors.emulator.callbacks() == []
        await asyncio.sleep(100)
        with pytest.raises(ValueError, match="not in the room"):
            vendors.emulator.report("zego", "room", "user")
    assert len(receiver.received) == 2


async def test_closing_cancels_pending_callbacks() -> None:
    began = asyncio.get_running_loop().time()
    async with vendors_calling(Receiver(500)) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() - began < 1.5


async def post(route: str, content: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=Emulator())) as client:
        return await client.post(f"http://emulator/_emulator/{route}", content=content)


#: JSON that is not a text, null first.
NOT_TEXTS = (b"null", b"5", b"true", b"[]", b"{}", b'"\\ud800"', b"[" * 500 + b"]" * 500)


@pytest.mark.parametrize("route", ["join", "leave", "report"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"{}", b"no JSON", b'{"vendor": "zego"}'),
        b'{"vendor": "x", "room_id": "r", "user_id": "u"}',
        b'{"vendor": "zego", "room_id": "r", "user_id": "u", "new": 1}',
        b'{"vendor": "zego", "room_id": "r", "user_id": "u", "now": "1"}',
        b'{"vendor": [], "room_id": "r", "user_id": "u"}',
        *(b'{"vendor": "zego", "room_id": %b, "user_id": "u"}' % wrong for wrong in NOT_TEXTS),
        *(b'{"vendor": "volcengine", "room_id": "r", "user_id": %b}' % wrong for wrong in NOT_TEXTS),
        *(b'{"vendor": "volcengine", "room_id": "r", "user_id": "u", "app_id": %b}' % wrong for wrong in NOT_TEXTS[1:]),
        *(b'{"vendor": "zego", "room_id": "r", "user_id": "u", "verdict": %b}' % wrong for wrong in NOT_TEXTS[1:]),
    ],
)
async def test_the_admin_api_refuses_wrong_arguments(route: str, content: bytes) -> None:
    response = await post(route, content)
    assert response.status_code == 400
    assert response.json()["error"]


@pytest.mark.looptime(False)
async def test_callbacks_of_a_process(emulator: EmulatorProcess, unused_tcp_port_factory: Callable[[], int]) -> None:
    """The admin API reports them."""
    url = f"http://127.0.0.1:{unused_tcp_port_factory()}/"
    assert await emulator.join("zego", "room", "user", verdict="REJECT")
    with pytest.raises(ValueError, match="vendor must be"):
        await emulator.join("other", "room", "user")
    async with zego_client(base_url=emulator.base_url) as zego:
        await zego.start_censor_audio(**AUDIO, result_callback_url=url)
    assert await emulator.report("zego", "room", "user") == 1
    (callback,) = await emulator.callbacks()
    assert callback["outcome"] == "pending"
    assert json.dumps(callback["body"])
    await emulator.leave("zego", "room", "user")
    with pytest.raises(ValueError, match="not in the room"):
        await emulator.report("zego", "room", "user")
    assert (await emulator.counts())["StartCensorAudioV2"]["accepted"] == 1
    await emulator.reset()
    assert await emulator.callbacks() == []
    assert "StartCensorAudioV2" not in await emulator.counts()
