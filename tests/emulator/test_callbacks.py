"""The emulator calls back as the vendors do: signed, to the task's address, and again until it is acknowledged."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.doubles import KEYS, NOW, Vendors, loop_clock, zego_client
from tests.emulator.raw import VOLCENGINE, ZEGO, ask_volcengine, ask_zego
from volc_moderation import Event, Media, Verdict
from volc_moderation.emulator import Emulator, EmulatorProcess, Settings
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.webhooks import Webhooks
from volc_moderation.zego import AudioParam, VideoParam
from volc_moderation.zego import callbacks as zego_callbacks

ROOM: dict[str, Any] = {"app_id": "app", "room_id": "room"}
AUDIO: dict[str, Any] = {"room_id": "room", "event_id": "audio_room", "audio_language": "zh", "risk_type_list": ["BAN"]}
HERE = "https://app.example/callbacks"

pytestmark = pytest.mark.looptime


class Receiver:
    """A user's server: keeps when each callback came, and answers as it is told, the last for ever."""

    def __init__(self, *answers: Exception | float) -> None:
        self.came: list[tuple[float, str, bytes]] = []
        self._answers = list(answers)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.came.append((asyncio.get_running_loop().time(), request.url.path, request.content))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0] if self._answers else 200
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = 200
        return httpx.Response(answer)

    @property
    def pauses(self) -> list[float]:
        times = [when for when, _, _ in self.came]
        return [round(later - earlier, 1) for earlier, later in itertools.pairwise(times)]


@asynccontextmanager
async def calling_back(receiver: Any, settings: Settings = KEYS) -> AsyncIterator[Vendors]:
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as client,
        Vendors(settings, receiver=client) as vendors,
    ):
        yield vendors


async def settled(vendors: Vendors) -> list[dict[str, Any]]:
    async with asyncio.timeout(600):  # of the loop's own time: longer than either vendor tries
        while any(one["outcome"] == "pending" for one in vendors.emulator.callbacks()):
            await asyncio.sleep(0.1)
    return vendors.emulator.callbacks()


async def test_volcengine_calls_back_what_it_finds() -> None:
    receiver = Receiver()
    async with calling_back(receiver) as vendors:
        vendors.emulator.join("volcengine", "room", "user")
        assert vendors.emulator.report("volcengine", "room", "user") == 0  # nobody moderates
        await vendors.volcengine.start_detection(**ROOM, callback=f"{HERE}/volc")
        assert vendors.emulator.report("volcengine", "room", "user") == 2
        assert vendors.emulator.report("volcengine", "room", "user", verdict="REVIEW", media="audio") == 1
        assert vendors.emulator.report("volcengine", "room", "user", verdict="PASS") == 0
        assert [one["outcome"] for one in await settled(vendors)] == 3 * ["delivered"]
    events = []
    for _, path, body in receiver.came:
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


async def test_what_a_task_is_asked_for_is_what_it_reports() -> None:
    async with calling_back(Receiver()) as vendors:
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
    ("answers", "pauses", "outcome"),
    [
        ((200,), [], "delivered"),
        ((500, 200), [1.0], "delivered"),
        ((204,), [1.0, 1.0], "lost"),  # Volcengine takes 200 only
        ((401,), [1.0, 1.0], "lost"),
        ((httpx.ConnectError("away"), 200), [1.0], "delivered"),
        ((6.0, 200), [6.0], "delivered"),  # after 5 s without an answer
    ],
)
async def test_volcengine_delivers_three_times(answers: Any, pauses: Any, outcome: str) -> None:
    receiver = Receiver(*answers)
    async with calling_back(receiver) as vendors:
        vendors.emulator.join("volcengine", "room", "user")
        await vendors.volcengine.start_detection(**ROOM, callback=HERE, media_type=2)
        vendors.emulator.report("volcengine", "room", "user")
        (callback,) = await settled(vendors)
    assert receiver.pauses == pauses
    assert callback["outcome"] == outcome
    assert callback["attempts"] == len(receiver.came) == len(callback["statuses"])
    assert len({body for _, _, body in receiver.came}) == 1  # with the same EventId


async def test_zego_delivers_six_times_and_then_it_is_lost() -> None:
    receiver = Receiver(503)
    async with calling_back(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        (callback,) = await settled(vendors)
    assert receiver.pauses == [2, 4, 8, 16, 32]
    assert (callback["outcome"], callback["statuses"]) == ("lost", 6 * [503])


@pytest.mark.parametrize(("verdict", "hits"), [("PASS", 0), ("REVIEW", 1), ("REJECT", 1)])
async def test_what_passes_hits_nothing(verdict: str, hits: int) -> None:
    receiver, url = Receiver(), f"{HERE}/zego"
    async with calling_back(receiver) as vendors:
        for vendor in ("volcengine", "zego"):
            vendors.emulator.join(vendor, "room", "user", stream_id="s" if vendor == "zego" else None)
        await vendors.volcengine.start_detection(**ROOM, callback=f"{HERE}/volc", callback_type=1)
        shown = VideoParam(risk_type_list=["QRCODE"], result_callback_url=url, return_all_img=1)
        heard = AudioParam(business_type_list=["AGE"], result_callback_url=url, return_all_text=1)
        await vendors.zego.start_censor_video(room_id="room", event_id="e", video_param=shown, audio_param=heard)
        for vendor in ("volcengine", "zego"):
            assert vendors.emulator.report(vendor, "room", "user", verdict=verdict) == 2
        await settled(vendors)
    found = {}
    for _, path, body in receiver.came:
        given = json.loads(body)
        if path.endswith("volc"):
            assert (b"emulated_model" in body) == bool(hits)
        else:
            detail = given["Detail"]
            assert len(detail["RiskInfoList"]) == hits
            found[given["Event"]] = detail["RiskDetail"]["RiskSource"]
    assert len(receiver.came) == 4
    assert found == {
        "censor_video_v2_img_result": 1002 if hits else 1000,
        "censor_video_v2_audio_result": 1001 if hits else 1000,
    }


async def test_zego_takes_any_status_of_success() -> None:
    receiver = Receiver(204)
    async with calling_back(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        assert [one["outcome"] for one in await settled(vendors)] == ["delivered"]


async def test_every_event_of_zego() -> None:
    receiver = Receiver()
    halves: dict[str, Any] = {"risk_type_list": ["BAN"], "result_callback_url": HERE, "status_callback_url": HERE}
    async with calling_back(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user", stream_id="s_1")
        audio = await vendors.zego.start_censor_audio(
            **AUDIO, result_callback_url=HERE, status_callback_url=HERE, return_finish_info=1
        )
        video = await vendors.zego.start_censor_video(
            room_id="room",
            event_id="live_streaming",
            video_param=VideoParam(**halves, return_all_img=1),
            audio_param=AudioParam(**halves),
            return_finish_info=1,
        )
        assert vendors.emulator.report("zego", "room", "user") == 3
        assert vendors.emulator.report("zego", "room", "user", verdict="PASS") == 1
        await asyncio.sleep(30)
        await vendors.zego.stop_censor_audio(task_id=audio.task_id)
        await vendors.zego.stop_censor_video(task_id=video.task_id)
        await vendors.zego.stop_censor_video(task_id=video.task_id)  # ended already
        assert vendors.emulator.report("zego", "room", "user") == 0
        await settled(vendors)
    events: list[Any] = []
    for _, _, body in receiver.came:
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


async def test_a_muted_stream_is_not_heard() -> None:
    async with calling_back(Receiver()) as vendors:
        vendors.emulator.join("zego", "room", "user", stream_id="s")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        await vendors.zego.set_forbid_stream_rule(room_id="room", stream_id="s", disable_audio=1, effective_time=60)
        assert vendors.emulator.report("zego", "room", "user") == 0
        await asyncio.sleep(61)
        assert vendors.emulator.report("zego", "room", "user") == 1
        await vendors.zego.forbid_rtc_stream(stream_id="s")
        assert vendors.emulator.report("zego", "room", "user") == 0


async def test_it_reports_by_itself() -> None:
    """Every five seconds, what each user publishes; what passes only to who wants to know."""
    receiver = Receiver()
    async with calling_back(receiver, Settings(report_every=5)) as vendors:
        vendors.emulator.join("volcengine", "room", "bad", verdict="REJECT")
        vendors.emulator.join("volcengine", "room", "good")
        vendors.emulator.join("zego", "room", "doubtful", verdict="REVIEW")
        await vendors.volcengine.start_detection(**ROOM, callback=f"{HERE}/volcengine", media_type=1)
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=f"{HERE}/zego")
        await asyncio.sleep(16)
        await vendors.volcengine.stop_detection(**ROOM)
        vendors.emulator.leave("zego", "room", "doubtful")
        await asyncio.sleep(20)
    assert [path for _, path, _ in receiver.came] == 3 * ["/callbacks/volcengine", "/callbacks/zego"]
    assert receiver.pauses == [0, 5, 0, 5, 0]


async def test_the_loop_closes() -> None:
    """What is found is handed to a handler, which acts, so that it is not found again."""
    acted: list[Event] = []
    made: list[Vendors] = []

    async def act(event: Event) -> None:
        acted.append(event)
        assert event.room_id is not None
        assert event.user_id is not None
        await made[0].zego.kickout_user(room_id=event.room_id, user_id=[event.user_id])

    app = Webhooks(act, zego=KEYS.callback_secret, clock=loop_clock, within=60)
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client,
        Vendors(Settings(report_every=5), receiver=client) as vendors,
    ):
        made.append(vendors)
        for user in ("bad", "good"):
            vendors.emulator.join("zego", "room", user, verdict="REJECT" if user == "bad" else "PASS")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url="http://app/zego")
        await asyncio.sleep(31)
        assert [user.user_id async for user in vendors.zego.iter_user_list(room_id="room")] == ["good"]
    assert [event.user_id for event in acted] == ["bad"]


async def test_no_other_machine_is_called(vendors: Vendors) -> None:
    for user, url in enumerate(("https://example.com/", "http://10.0.0.1/", "http://localhost.example.com/")):
        vendors.emulator.join("volcengine", "room", str(user))
        await vendors.volcengine.start_detection(**ROOM, user_id=str(user), callback=url, media_type=1)
        vendors.emulator.report("volcengine", "room", str(user))
    assert [(one["outcome"], one["attempts"]) for one in vendors.emulator.callbacks()] == 3 * [
        ("not on this machine", 0)
    ]


@pytest.mark.looptime(False)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_this_machine_is_called(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a proxy, which may be set for the way out."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    came: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(take, "0.0.0.0") as server, Vendors() as vendors:  # noqa: S104 - of loopback, more than one
        url = f"http://{host}:{server.sockets[0].getsockname()[1]}/here"
        vendors.emulator.join("volcengine", "room", "user")
        await vendors.volcengine.start_detection(**ROOM, callback=url, media_type=1)
        for _ in range(2):
            vendors.emulator.report("volcengine", "room", "user")
        async with asyncio.timeout(10):
            while any(one["outcome"] == "pending" for one in vendors.emulator.callbacks()):
                await asyncio.sleep(0.01)
        assert [one["outcome"] for one in vendors.emulator.callbacks()] == ["delivered", "delivered"]
        own = vendors.emulator._deliveries._own
        assert own is not None
    assert own.is_closed
    assert came == 2 * [b"POST /here HTTP/1.1\r\n"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:0/",
        "no address",
        "example.com",
        "ftp://127.0.0.1/",
        "http://",
        "http://[",
        "http://127.0.0.1:99999/",
        "//a/",
    ],
)
async def test_what_is_no_address_is_not_called(url: str) -> None:
    """Either vendor takes it for one, and moderates."""
    receiver = Receiver()
    async with calling_back(receiver) as vendors:
        for vendor in ("volcengine", "zego"):
            vendors.emulator.join(vendor, "room", "user")
        start = {**VOLCENGINE["StartDetection"], "Callback": url, "MediaType": 1}
        assert (await ask_volcengine(vendors.emulator, "StartDetection", start))[0] is None
        start = {**ZEGO["StartCensorAudioV2"], "ResultCallbackUrl": url}
        assert (await ask_zego(vendors.emulator, "StartCensorAudioV2", start))[0] == 0
        for vendor in ("volcengine", "zego"):
            assert vendors.emulator.report(vendor, "room", "user") == 1
        outcomes = [(one["outcome"], one["attempts"]) for one in await settled(vendors)]
    assert outcomes == 2 * [("not an address", 0)]
    assert receiver.came == []


async def test_an_empty_address_is_none() -> None:
    async with calling_back(Receiver()) as vendors:
        vendors.emulator.join("volcengine", "room", "user")
        start = {**VOLCENGINE["StartDetection"], "Callback": ""}
        assert (await ask_volcengine(vendors.emulator, "StartDetection", start))[0] is None
        assert vendors.emulator.report("volcengine", "room", "user") == 0


async def test_what_is_forgotten_is_not_sent() -> None:
    receiver = Receiver(500)
    async with calling_back(receiver) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        await asyncio.sleep(3)
        vendors.emulator.reset()
        assert vendors.emulator.callbacks() == []
        await asyncio.sleep(100)
        with pytest.raises(ValueError, match="not in the room"):
            vendors.emulator.report("zego", "room", "user")
    assert len(receiver.came) == 2


async def test_in_the_middle_of_a_delivery_it_ends_at_once() -> None:
    began = asyncio.get_running_loop().time()
    async with calling_back(Receiver(500)) as vendors:
        vendors.emulator.join("zego", "room", "user")
        await vendors.zego.start_censor_audio(**AUDIO, result_callback_url=HERE)
        vendors.emulator.report("zego", "room", "user")
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() - began < 1.5


async def asked(route: str, content: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=Emulator())) as client:
        return await client.post(f"http://emulator/_emulator/{route}", content=content)


#: What is no text, null first.
WRONG = (b"null", b"5", b"true", b"[]", b"{}", b'"\\ud800"', b"[" * 500 + b"]" * 500)


@pytest.mark.parametrize("route", ["join", "leave", "report"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"{}", b"no JSON", b'{"vendor": "zego"}'),
        b'{"vendor": "x", "room_id": "r", "user_id": "u"}',
        b'{"vendor": "zego", "room_id": "r", "user_id": "u", "new": 1}',
        b'{"vendor": "zego", "room_id": "r", "user_id": "u", "now": "1"}',
        b'{"vendor": [], "room_id": "r", "user_id": "u"}',
        *(b'{"vendor": "zego", "room_id": %b, "user_id": "u"}' % wrong for wrong in WRONG),
        *(b'{"vendor": "volcengine", "room_id": "r", "user_id": %b}' % wrong for wrong in WRONG),
        *(b'{"vendor": "volcengine", "room_id": "r", "user_id": "u", "app_id": %b}' % wrong for wrong in WRONG[1:]),
        *(b'{"vendor": "zego", "room_id": "r", "user_id": "u", "verdict": %b}' % wrong for wrong in WRONG[1:]),
    ],
)
async def test_wrong_requests_of_the_administrator(route: str, content: bytes) -> None:
    response = await asked(route, content)
    assert response.status_code == 400
    assert response.json()["error"]


@pytest.mark.looptime(False)
async def test_over_a_socket(emulator: EmulatorProcess, unused_tcp_port_factory: Callable[[], int]) -> None:
    """The same through the process: to this machine without more, and lost if nobody listens."""
    address = f"http://127.0.0.1:{unused_tcp_port_factory()}/"
    assert await emulator.join("zego", "room", "user", verdict="REJECT")
    with pytest.raises(ValueError, match="vendor must be"):
        await emulator.join("other", "room", "user")
    async with zego_client(base_url=emulator.base_url) as zego:
        await zego.start_censor_audio(**AUDIO, result_callback_url=address)
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
