"""The commands ``call``, ``emulator`` and ``demo``, and what all commands share: rates, usage errors and exit codes."""

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

import volc_moderation.cli.app
from tests.cli.commands import Command
from tests.doubles import environment, free_port, volcengine_client
from tests.jobs.journals import fill
from volc_moderation import DeadlineExceeded, SourceError, VolcengineClient, ZegoClient
from volc_moderation.cli import main
from volc_moderation.cli.app import run
from volc_moderation.cli.call import _print_json_error
from volc_moderation.cli.demo import ActionCounts
from volc_moderation.cli.rate import parse_rates
from volc_moderation.emulator import Emulator, EmulatorProcess, Fault
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import StopWebcast

Result = tuple[int, str, str]

START_WEBCAST = [
    *("call", "StartWebcast", "--app-id", "a", "--room-id", "r", "--task-id", "t", "--user-id", "u"),
    *("--source-url", "https://example.com/"),
]
START_AUDIO = [
    *("call", "StartCensorAudioV2", "--room-id", "r", "--event-id", "audio_room", "--audio-language", "zh"),
    *("--risk-type-list", "BAN"),
]


async def command(*arguments: str, **environment: str) -> Result:
    """Run a command in a thread."""

    def run_command() -> Result:
        with (
            mock.patch.dict(os.environ, {"COLUMNS": "120"} | environment),
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            return run([*arguments]), output.getvalue(), errors.getvalue()

    return await asyncio.to_thread(run_command)


async def command_of_a_process(*arguments: str, **environment: str) -> Result:
    """Run a command in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from volc_moderation.cli import main; main()", *arguments),
        env=os.environ | {"COLUMNS": "120"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@pytest.fixture
def keys(emulator: EmulatorProcess) -> dict[str, str]:
    return environment(emulator.base_url)


async def test_calls_of_both_vendors(keys: dict[str, str]) -> None:
    code, output, _ = await command_of_a_process(
        *("call", "StartWebcast", "--app-id", "a", "--room-id", "r", "--task-id", "t", "--user-id", "u"),
        *("--source-url", "https://example.com/", "--video-solutions", '[{"Width": 1280, "Height": 720}]'),
        *("--monitor-config", '{"BlankCheckInterval": 5}'),
        **keys,
    )
    assert (code, json.loads(output)["result"]) == (0, {"Message": "ok"})
    code, output, _ = await command(
        *("call", "GetWebCastTask", "--app_id", "a", "--room_id", "r", "--task_id", "t"), **keys
    )
    task = json.loads(output)["result"]["WebCastTask"]
    assert (code, task["VideoSolutions"]) == (0, [{"Width": 1280, "Height": 720}])
    assert task["MonitorConfig"] == {"BlankCheckInterval": 5}
    code, output, _ = await command(
        *(*START_AUDIO, "--risk-type-list", "DIRTY,VIOLENT", "--is-mixing-enabled", "1", "--return-all-text", "true"),
        **keys,
    )
    assert code == 0
    code, output, _ = await command(
        *("call", "StopCensorAudioV2", "--task-id", json.loads(output)["result"]["TaskId"]), **keys
    )
    assert (code, json.loads(output)["result"]) == (0, {})


async def test_flags_numbers_and_models_from_the_shell(
    keys: dict[str, str],
    emulator: EmulatorProcess,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    await emulator.join("volcengine", "r", "u")
    await emulator.join("zego", "r", "u")
    user = ("--app-id", "a", "--room-id", "r", "--user-id", "u")
    video = '{"RiskTypeList": ["QRCODE"], "DetectFrequency": 5}'
    privileges = ("--disabled-privilege", "1,2")
    calls = (
        ("StartDetection", *user[:4], "--media-type", "2", "--callback-type", "0"),
        ("BanUserStream", *user, "--no-audio", "--forbidden-interval", "60"),
        ("BanUserStream", *user, "--video", "--audio"),
        ("SendUnicast", "--app-id", "a", "--from", "s", "--to", "u", "--message", "AP8=", "--binary"),
        ("BatchSendRoomUnicast", *user[:4], "--from", "s", "--to", "u,v", "--message", "two words"),
        ("SetForbidUserRule", "--rule-type", "2", "--room-id", "r", "--effective-time", "60", *privileges),
        ("StartCensorVideoV2", "--room-id", "r", "--event-id", "live_streaming", "--video-param", video),
        ("CloseRoom", "--room-id", "r", "--room-close-callback"),
    )
    for arguments in calls:
        code = await asyncio.to_thread(run, ["call", *arguments])
        output, errors = capsys.readouterr()
        assert (code, errors) == (0, "")
        assert json.loads(output)["attempts"] == 1


async def test_a_refusal_is_1(keys: dict[str, str], emulator: EmulatorProcess) -> None:
    await emulator.play(Fault(kind="code", code=50009))
    code, output, errors = await command("call", "StopCensorAudioV2", "--task-id", "t", **keys)
    error = json.loads(errors)
    assert (code, output) == (1, "")
    assert (error["error"], error["code"], error["retry_after"]) == ("TemporaryError", 50009, 300)


async def test_an_unreachable_vendor_is_1(keys: dict[str, str]) -> None:
    keys["ZEGO_BASE_URL"] = "http://127.0.0.1:9"
    code, _, errors = await command("call", "StopCensorAudioV2", "--task-id", "t", "--deadline", "1.5", **keys)
    error = json.loads(errors)
    assert (code, error["error"], error["maybe_sent"]) == (1, "TransportError", False)
    assert "127.0.0.1:9" in error["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["call", "StopCensorAudioV2"],
        ["call", "StopCensorAudioV2", "--task-id", "two\nlines"],
        ["call", "StopCensorAudioV2", "--task-id", "t", "--deadline", "0"],
        ["call", "Unknown"],
        ["call", "StartDetection", "--app-id", "a", "--room-id", "r", "--interval", "often"],
        ["call", "StartDetection", "--app-id", "a", "--room-id", "r", "--interval", "99"],
        ["call", "StartDetection", "--app-id", "a", "--room-id", "r", "--interval", "150.7"],
        ["call", "StartDetection", "--app-id", "a", "--room-id", "r", "--media-type", "AUDIO"],
        [*START_AUDIO, "--return-all-text", "2"],
        [*START_AUDIO, "--return-all-text", "maybe"],
        [*START_AUDIO, "--return-all-text"],
        [*START_WEBCAST, "--monitor-config", "5"],
        [*START_WEBCAST, "--monitor-config", '{"blank_check_interval": 5}'],
        [*START_WEBCAST, "--video-solutions", '{"Width": 1280}'],
        [*START_WEBCAST, "--video-solutions", '[{"Width": 12.5}]'],
        [*START_WEBCAST, "--video-solutions", '[{"Width": 12}]'],
        ["unknown"],
        ["emulator", "--port", "99999"],
        ["emulator", "--delay", "inf", "inf"],
        ["emulator", "--report-every", "0"],
        ["demo", "--webcasts", "0"],
        ["demo", "--svg", "/no/such/folder/picture.svg"],
        ["demo", "--empty-delay"],
    ],
)
def test_bad_usage_is_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "s", "VOLC_ACCESSKEY": "AK", "VOLC_SECRETKEY": "SK"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    assert run(arguments) == 2
    assert "".join(capsys.readouterr())


def test_a_required_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["call", "StopWebcast"]) == 2
    assert capsys.readouterr().err == 'Command "call StopWebcast" parameter --room-id requires an argument.\n'


def test_an_app_that_the_client_does_not_have_either_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its option may be omitted where the client has the app."""
    for name, value in environment("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    assert run(["call", "StopWebcast", "--room-id", "r", "--task-id", "t"]) == 2
    error = json.loads(capsys.readouterr().err)
    assert (error["error"], error["field"]) == ("InvalidActionError", "app_id")


@pytest.mark.parametrize(
    ("rate", "limits"),
    [
        (["10"], (10, 10, 10)),
        (["120"], (120, 100, 120)),
        (["1000"], (150, 100, 1000)),
        (["120", "StopWebcast=300"], (300, 100, 120)),
        (["StopCensorAudioV2=5", "120"], (120, 5, 120)),
    ],
)
def test_a_rate_is_at_most_the_quota(rate: list[str], limits: tuple[int, ...]) -> None:
    """Unless the quota is not published, or the rate is for one action: the vendor may have raised its quota."""
    rates = parse_rates(rate)
    by_action = rates.limits_of(VolcengineClient) | rates.limits_of(ZegoClient)
    assert tuple(by_action[name] for name in ("StopWebcast", "StopCensorAudioV2", "ListDetectionTask")) == limits
    assert parse_rates([]).limits_of(ZegoClient) == {}


def test_a_rate_above_the_documented_quota_has_a_warning() -> None:
    actions = VolcengineClient.actions().values()
    (warning,) = parse_rates(["StopWebcast=300", "ListDetectionTask=300", "StartWebcast=150"]).warnings(actions)
    assert warning.startswith("Warning: StopWebcast: 300/s is above the documented 150/s")
    assert parse_rates(["1000"]).warnings(actions) == []


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "", "1.5", "StopWebcast=", "StopWebcast=0", "=5", "StopWebcst=5"])
def test_a_wrong_rate_is_refused(wrong: str) -> None:
    with pytest.raises(SourceError, match="--rate"):
        parse_rates([wrong])


@pytest.mark.slow
async def test_missing_credentials_of_a_call_are_2() -> None:
    code, _, errors = await command("call", "StopCensorAudioV2", "--task-id", "t")
    assert (code, json.loads(errors)["message"]) == (2, "set ZEGO_APP_ID and ZEGO_SERVER_SECRET")


def test_the_help_shows_defaults_as_they_are_typed(command: Command) -> None:
    """Flags and options that have none show none."""
    assert "[default: 0.02 0.05]" in command("demo", "--help")[1]
    output = command("bulk", "--help")[1]
    assert re.findall(r"\[default: (.+?)\]", output) == ["local", "moderation", "wait"]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["call", "--help"], ["call", "StartDetection", "--help"], ["--version"]):
        assert run(arguments) == 0
        assert capsys.readouterr().out


@pytest.mark.slow
async def test_the_emulator_serves_until_interrupted() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from volc_moderation.cli import main; main()"),
        *("emulator", "--port", "0", "--report-every", "0.1"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode() for _ in range(6)]
    pasted = await asyncio.create_subprocess_exec("bash", "-c", "".join(lines[:5]), stdout=asyncio.subprocess.PIPE)
    output, _ = await pasted.communicate()
    assert json.loads(output)["result"] == {"Message": "success"}
    exported: dict[str, Any] = dict(word.split("=", 1) for line in lines[1:4] for word in line.split()[1:])
    start = ("call", "StartDetection", "--app-id", "a", "--room-id", "r", "--callback", "https://example.com/")
    code, text, _ = await command(*start, **exported)
    assert (code, json.loads(text)["result"]) == (0, {"Message": "success"})
    async with httpx.AsyncClient(base_url=exported["ZEGO_BASE_URL"], trust_env=False) as admin:
        bad = {"vendor": "volcengine", "app_id": "a", "room_id": "r", "user_id": "u", "verdict": "REJECT"}
        assert (await admin.post("/_emulator/join", json=bad)).status_code == 204
        while not (await admin.get("/_emulator/callbacks")).json():  # sent without a request for it
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0


async def test_a_port_in_use_is_2(emulator: EmulatorProcess) -> None:
    port = emulator.base_url.rpartition(":")[2]
    code, _, errors = await command("emulator", "--port", port)
    assert code == 2
    assert "cannot listen" in errors


@pytest.mark.slow
def test_a_small_demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The full demo is the first command of the README; this one takes a second."""
    monkeypatch.setenv("COLUMNS", "120")
    code = run(["demo", "--webcasts", "41", "--audio", "30"])
    output, errors = capsys.readouterr()
    assert code == 0
    assert "137 done, 2 failed, 3 deferred until " in output
    assert "StopWebcast 41/41" in errors or "StopWebcast" in output
    report, journal = re.findall(r"(?:Report: |Resume with: .+ --resume )(.+)$", output, re.MULTILINE)
    assert {Path(report).name, Path(journal).name} == {"demo.html", "demo.jobs"}
    shutil.rmtree(Path(journal).parent)  # raises if there is no such directory


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["emulator", "--port", "0"], ["demo"]])
async def test_an_interrupt_is_silent(arguments: list[str]) -> None:
    """A terminal interrupts all processes of the group; none of them prints a traceback."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from volc_moderation.cli import main; main()", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert await process.stdout.readline()
    await asyncio.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = await process.communicate()
    assert b"Traceback" not in output
    assert process.returncode == {"emulator": 0, "demo": 130}[arguments[0]]


@pytest.mark.slow
async def test_the_demo_writes_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    code, _, _ = await command_of_a_process(
        "demo", "--webcasts", "3", "--audio", "3", "--svg", str(picture), PYTHONIOENCODING="ascii"
    )
    assert code == 0
    assert "StopWebcast" in picture.read_text()
    assert "font-face" not in picture.read_text()


async def test_a_closed_output_pipe_is_74_without_a_traceback(keys: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from volc_moderation.cli import main; main()"),
        *("call", "StartDetection", "--app-id", "a", "--room-id", "r"),
        stdout=write,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | keys,
    )
    os.close(write)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (74, b"")  # 1 would say that the vendor refused


@pytest.mark.parametrize(
    ("counts", "is_within_quota"), [({}, True), ({"throttled": 1}, False), ({"most_in_any_second": 151}, False)]
)
def test_the_demo_succeeds_only_within_the_quotas(counts: dict[str, int], is_within_quota: bool) -> None:
    batch = ActionCounts(StopWebcast, {"throttled": 0, "most_in_any_second": 150} | counts)
    assert batch.is_within_quota is is_within_quota


@pytest.mark.slow
def test_a_demo_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It continues the journal of an interrupted demo, with an emulator at the same port."""
    port, journal = free_port(), tmp_path / "demo.jobs"
    clients = [volcengine_client(base_url=f"http://127.0.0.1:{port}")]
    with contextlib.closing(Journal(journal)) as opened:
        fill(opened, [StopWebcast(app_id="app", room_id=f"room-{n}", task_id="t") for n in range(5)], *clients, now=0)
        with opened.transaction():
            opened.note("port", str(port))
    code = run(["demo", "--resume", str(journal)])
    assert (code, "5 done (5 already gone), in" in capsys.readouterr().out) == (0, True)
    assert run(["demo", "--resume", str(tmp_path / "none")]) == 2


def test_the_options_of_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    served = []

    async def serve(emulator: Emulator, listener: socket.socket) -> None:
        served.append((emulator.settings.delay, listener.getsockname()[0]))
        listener.close()

    monkeypatch.setattr("volc_moderation.cli.emulator.serve", serve)
    options = ["--host", "127.0.0.2", "--port", "0", "--delay", "0.1", "0.2"]
    assert volc_moderation.cli.app.run(["emulator", *options]) == 0
    assert served == [((0.1, 0.2), "127.0.0.2")]


def test_a_printed_error_has_the_number_of_attempts(capsys: pytest.CaptureFixture[str]) -> None:
    error = DeadlineExceeded("late", maybe_sent=True)
    error.attempts = 3
    _print_json_error(error)
    printed = json.loads(capsys.readouterr().err)
    assert printed == {"error": "DeadlineExceeded", "message": "late", "maybe_sent": True, "attempts": 3}


def test_another_import_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "volc_moderation.cli.app", None)
    with pytest.raises(ImportError, match=r"volc_moderation\.cli\.app"):
        main([])
