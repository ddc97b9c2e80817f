"""The emulator on a socket: its process, its settings on standard input, and which requests it answers."""

import asyncio
import contextlib
import gc
import json
import os
import pty
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import volcengine_client, zego_client
from volc_moderation import APIError, RetryPolicy, TemporaryError, TransportError
from volc_moderation.emulator import Emulator, EmulatorProcess, Fault, Settings, listen, serve
from volc_moderation.testing import ModerationEmulator

ONCE = RetryPolicy(attempts=1)
SECRET = "not-for-everybody"


@pytest.mark.slow
async def test_the_admin_api_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and faults take effect, counts are returned, and the process ends."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it would flush the ready line without an explicit flush
    monkeypatch.setattr("volc_moderation.emulator.control.START_TIMEOUT", 10)
    async with EmulatorProcess(Settings(quotas={"StopCensorAudioV2": 1})) as emulator:
        await emulator.play(Fault(kind="code", code=50006, status=418))
        async with zego_client(base_url=emulator.base_url, retry=ONCE) as zego:
            with pytest.raises(TemporaryError) as caught:
                await zego.stop_censor_audio(task_id="t")
        assert caught.value.status == 418
        assert (await emulator.counts())["StopCensorAudioV2"]["quota"] == 1
        await emulator.reset()
        assert await emulator.counts() == {}
        process = emulator._process
    assert process is not None
    assert process.returncode == 0


@pytest.mark.slow
async def test_the_process_ends_when_its_parent_does() -> None:
    """Its standard input closes when the parent dies, even if that is killed."""
    program = (
        "import asyncio, os\n"
        "from volc_moderation.emulator import EmulatorProcess\n"
        "async def main():\n"
        "    emulator = await EmulatorProcess().__aenter__()\n"
        "    print(emulator._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await parent.communicate()
    assert json.loads(output) > 0  # communicate returns only when the emulator has closed standard output too


@pytest.mark.slow
async def test_a_hanging_call_ends_with_its_client_or_the_emulator(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither is logged."""
    async with EmulatorProcess() as emulator:
        await emulator.play(Fault(kind="hang", first=2))
        async with zego_client(base_url=emulator.base_url, retry=ONCE, timeout=0.2) as zego:
            with pytest.raises(TransportError):
                await zego.stop_censor_audio(task_id="t")
        patient = zego_client(base_url=emulator.base_url, retry=ONCE)
        hanging = asyncio.create_task(patient.stop_censor_audio(task_id="t"))
        while (await emulator.counts())["StopCensorAudioV2"]["faults"] < 2:
            await asyncio.sleep(0.01)
    with pytest.raises(TransportError):
        await hanging
    await patient.aclose()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
async def test_a_reset_fault_resets_the_connection() -> None:
    """There is no answer of any kind."""
    async with EmulatorProcess() as emulator:
        await emulator.play(Fault(kind="reset"))
        async with zego_client(base_url=emulator.base_url, retry=ONCE) as zego:
            with pytest.raises(TransportError) as caught:
                await zego.stop_censor_audio(task_id="t")
    assert caught.value.maybe_sent
    assert "HTTP" not in caught.value.message  # no status: there was no answer


@pytest.mark.slow
async def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.emulator.control.STOP_TIMEOUT", 0.1)
    async with EmulatorProcess() as emulator:
        process = emulator._process
        assert process is not None
        assert os.getpgid(process.pid) != os.getpgid(0)  # an interrupt at the terminal goes to the parent only
        os.kill(process.pid, signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


def test_a_port_in_use_raises() -> None:
    """The new socket is closed; otherwise Python would warn about it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", taken.getsockname()[1])
        gc.collect()


async def test_an_emulator_stops_reporting_when_its_server_stops() -> None:
    emulator = Emulator(Settings(report_every=0.01))
    async with serving("127.0.0.1", emulator=emulator) as base_url, volcengine_client(base_url=base_url) as client:
        emulator.join("volcengine", "room", "user")
        await client.start_detection(app_id="app", room_id="room")
        reporter = emulator._reporter
    assert reporter is not None
    assert reporter.cancelled()


# Standard input


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the system does not show arguments as files")
async def test_the_arguments_of_the_process_contain_no_key() -> None:
    """Every user of the machine can read the arguments."""
    settings = Settings(access_key=SECRET, secret_key=SECRET, server_secret=SECRET, callback_secret=SECRET)
    async with EmulatorProcess(settings) as emulator:
        assert emulator._process is not None
        assert SECRET not in command_line(emulator._process.pid)
        async with volcengine_client(base_url=emulator.base_url, retry=ONCE) as client:
            with pytest.raises(APIError, match="InvalidAccessKey"):
                await client.stop_detection(app_id="app", room_id="room")
    with ModerationEmulator(settings) as blocking:
        assert SECRET not in command_line(blocking._process.pid)
        assert blocking.environment["VOLCENGINE_SECRET_KEY"] == SECRET


def command_line(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_text()
    assert "volc_moderation.emulator" in arguments
    return arguments


@contextlib.asynccontextmanager
async def started_by_hand(stdin: Any) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Start the module as a user would, wait for the ready line, and interrupt it at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "volc_moderation.emulator"), stdin=stdin, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            ready = json.loads(await process.stdout.readline())
        yield process, ready
        process.send_signal(signal.SIGINT)
        await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def quota(base_url: str) -> int:
    """Return the quota of StopWebcast, which depends on the settings."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
        await client.post("/?Action=StopWebcast")
        return int((await client.get("/_emulator/counts")).json()["StopWebcast"]["quota"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "expected"), [(b"", 150), (b"\n", 150), (b'{"quotas": {"StopWebcast": 7}}\nmore\n', 7), (b"{}", 150)]
)
async def test_settings_from_a_file(tmp_path: Path, content: bytes, expected: int) -> None:
    """The end of the file does not stop the process."""
    (tmp_path / "settings").write_bytes(content)
    with (tmp_path / "settings").open("rb") as stdin:
        async with started_by_hand(stdin) as (process, ready):
            assert await quota(ready["base_url"]) == expected
            assert process.returncode is None
    assert process.returncode == 0


@pytest.mark.slow
async def test_standard_input_may_be_empty() -> None:
    async with started_by_hand(asyncio.subprocess.DEVNULL) as (process, ready):
        assert await quota(ready["base_url"]) == 150
        assert process.returncode is None
    assert process.returncode == 0


@pytest.mark.slow
async def test_a_terminal_is_not_read() -> None:
    ours, theirs = pty.openpty()
    try:
        async with started_by_hand(theirs) as (process, ready):
            assert await quota(ready["base_url"]) == 150
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0


@pytest.mark.slow
async def test_the_parent_may_use_a_socket() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(b'{"quotas": {"StopWebcast": 7}}\n')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "volc_moderation.emulator"), stdin=theirs.fileno(), stdout=asyncio.subprocess.PIPE
    )
    theirs.close()
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await quota(json.loads(await process.stdout.readline())["base_url"]) == 7
        ours.close()
        assert await process.wait() == 0


@pytest.mark.slow
async def test_standard_input_may_be_closed() -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$0" -m volc_moderation.emulator <&-', sys.executable), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await quota(json.loads(await process.stdout.readline())["base_url"]) == 150
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (b"", 0, b""),  # a parent that died first
        (b'{"access_key": "half', 0, b""),
        (b"[1]\n", 1, b"must be a JSON object of settings"),
        (b'{"unknown": "hidden"}\n', 1, b"unknown"),
        (b'{"secret_key": "hidden\n', 1, b"must be a JSON object of settings"),
        (2**21 * b" " + b"\n", 1, b"must be a JSON object of settings"),
    ],
)
async def test_malformed_settings(settings: bytes, code: int, message: bytes) -> None:
    """The process ends, and its message contains no key."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "volc_moderation.emulator"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(settings)
    assert (process.returncode, output) == (code, b"")
    assert message in errors
    assert errors.count(b"\n") <= 1
    assert b"hidden" not in errors


async def test_a_process_that_does_not_start_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it ends before it reads settings that fill the pipe."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    large = Settings(quotas={f"Action{number}": 1 for number in range(20_000)})
    with pytest.raises(RuntimeError, match="did not start"):
        ModerationEmulator(large)
    with pytest.raises(RuntimeError, match="did not start"):
        await EmulatorProcess(large).__aenter__()


# Web pages

PAGE_CALLS = [
    ("POST", "/_emulator/reset"),
    ("GET", "/_emulator/counts"),
    ("GET", "/?Action=KickoutUser"),
    ("POST", "/"),
]


async def statuses(base_url: str, headers: dict[str, str]) -> list[int]:
    """Return the answers to calls of the admin API and of the vendors."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False, headers=headers) as client:
        return [(await client.request(method, path)).status_code for method, path in PAGE_CALLS]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # another port is another origin
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8765"},
        {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        *(
            {"Host": host}
            for host in ("", "localhost.evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1", "[::1")
        ),
        *({"Host": host} for host in ("127.0.0.1:x", "127.0.0.1/", "2130706433", "127.1", "[localhost]")),
    ],
)
async def test_web_pages_are_refused(moderation_emulator: ModerationEmulator, headers: dict[str, str]) -> None:
    """A page of another origin, and a page whose name points to this machine; for every path."""
    moderation_emulator.join("zego", "room", "user")
    async with httpx.AsyncClient(base_url=moderation_emulator.base_url, trust_env=False) as client:
        await client.post("/?Action=Known")
        assert await statuses(moderation_emulator.base_url, headers) == len(PAGE_CALLS) * [403]
        preflight = await client.options("/_emulator/reset", headers=headers)
        assert preflight.status_code == 403
        assert "emulator" in preflight.json()["error"]
        assert "Access-Control-Allow-Origin" not in preflight.headers
    assert set(moderation_emulator.counts()) == {"Known"}  # nothing was reset, nothing arrived


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *(
            {"Host": host}
            for host in ("127.0.0.1", "localhost", "LocalHost:8765", "[::1]:8765", "192.0.2.1:80", "[::1]")
        ),
        {"Sec-Fetch-Site": "none"},
        {"Host": "localhost:8765", "Origin": "http://localhost:8765", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_programs_are_answered(moderation_emulator: ModerationEmulator, headers: dict[str, str]) -> None:
    assert await statuses(moderation_emulator.base_url, headers) == [204, 200, 401, 401]


@contextlib.asynccontextmanager
async def serving(host: str, *, emulator: Emulator | None = None, **options: Any) -> AsyncIterator[str]:
    listener, stop = listen(host, 0), asyncio.Event()
    task = asyncio.create_task(serve(emulator or Emulator(), listener, until=stop.wait(), **options))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop.set()
    await task


async def test_requests_for_the_name_that_it_listens_on_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    getaddrinfo = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        return getaddrinfo("127.0.0.1" if host == "emulator" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with serving("emulator") as base_url:
        assert set(await statuses(base_url, {"Host": "Emulator:8765"})) == {204, 200, 401}
        assert set(await statuses(base_url, {"Host": "other:8765"})) == {403}


@pytest.mark.slow
async def test_a_server_on_all_addresses_answers_only_the_names_in_hosts() -> None:
    """As in a container, whose name the emulator does not know."""
    async with serving("0.0.0.0") as base_url:  # noqa: S104 - as in a container
        assert set(await statuses(base_url, {"Host": "192.0.2.7:8765"})) == {204, 200, 401}
        assert set(await statuses(base_url, {"Host": "emulator:8765"})) == {403}
    async with serving("0.0.0.0", hosts=["emulator"]) as base_url:  # noqa: S104
        assert set(await statuses(base_url, {"Host": "emulator:8765"})) == {204, 200, 401}
        assert set(await statuses(base_url, {"Host": "evil.example"})) == {403}
