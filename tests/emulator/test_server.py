"""The emulator on a socket: its process, what goes in over standard input, and who may call."""

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


async def test_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings arrive, faults play, counts come back, and nothing is left behind."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with which an address comes without being pushed
    monkeypatch.setattr("volc_moderation.emulator.server.START", 10)
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


async def test_it_ends_when_its_parent_does() -> None:
    """Standard input is the leash: it closes with the parent, however that dies."""
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


async def test_a_hang_ends_with_its_client_or_with_the_emulator(capfd: pytest.CaptureFixture[str]) -> None:
    """And neither is worth a word."""
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


async def test_a_connection_is_torn_down() -> None:
    """Without an answer, of whatever kind."""
    async with EmulatorProcess() as emulator:
        await emulator.play(Fault(kind="reset"))
        async with zego_client(base_url=emulator.base_url, retry=ONCE) as zego:
            with pytest.raises(TransportError) as caught:
                await zego.stop_censor_audio(task_id="t")
    assert caught.value.maybe_sent
    assert "HTTP" not in caught.value.message  # no status: there was no answer


async def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.emulator.server.END", 0.1)
    async with EmulatorProcess() as emulator:
        process = emulator._process
        assert process is not None
        assert os.getpgid(process.pid) != os.getpgid(0)  # an interrupt at the terminal is for the parent
        os.kill(process.pid, signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


def test_a_port_that_is_taken() -> None:
    """The socket that was opened for it is closed, or Python would complain of it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", taken.getsockname()[1])
        gc.collect()


async def test_an_emulator_ends_with_its_server() -> None:
    emulator = Emulator(Settings(report_every=0.01))
    async with served("127.0.0.1", emulator=emulator) as base_url, volcengine_client(base_url=base_url) as client:
        emulator.join("volcengine", "room", "user")
        await client.start_detection(app_id="app", room_id="room")
        reporter = emulator._reporter
    assert reporter is not None
    assert reporter.cancelled()


# Standard input


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the system does not show arguments as files")
async def test_no_key_is_among_the_arguments() -> None:
    """Every user of the machine can read those."""
    settings = Settings(access_key=SECRET, secret_key=SECRET, server_secret=SECRET, callback_secret=SECRET)
    async with EmulatorProcess(settings) as emulator:
        assert emulator._process is not None
        assert SECRET not in shown(emulator._process.pid)
        async with volcengine_client(base_url=emulator.base_url, retry=ONCE) as client:
            with pytest.raises(APIError, match="InvalidAccessKey"):
                await client.stop_detection(app_id="app", room_id="room")
    with ModerationEmulator(settings) as blocking:
        assert SECRET not in shown(blocking._process.pid)
        assert blocking.environment["VOLCENGINE_SECRET_KEY"] == SECRET


def shown(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_text()
    assert "volc_moderation.emulator" in arguments
    return arguments


@contextlib.asynccontextmanager
async def by_hand(stdin: Any) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Start the module as a user would, wait for the address, and interrupt it in the end."""
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
    """Return the quota of an action, which settings may set."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
        await client.post("/?Action=StopWebcast")
        return int((await client.get("/_emulator/counts")).json()["StopWebcast"]["quota"])


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", 150), (b"\n", 150), (b'{"quotas": {"StopWebcast": 7}}\nmore\n', 7), (b"{}", 150)]
)
async def test_settings_from_a_file(tmp_path: Path, content: bytes, expected: int) -> None:
    """The end of a file is not the end of a parent."""
    (tmp_path / "settings").write_bytes(content)
    with (tmp_path / "settings").open("rb") as stdin:
        async with by_hand(stdin) as (process, ready):
            assert await quota(ready["base_url"]) == expected
            assert process.returncode is None
    assert process.returncode == 0


async def test_nothing_on_standard_input() -> None:
    async with by_hand(asyncio.subprocess.DEVNULL) as (process, ready):
        assert await quota(ready["base_url"]) == 150
        assert process.returncode is None
    assert process.returncode == 0


async def test_a_terminal_is_not_waited_for() -> None:
    ours, theirs = pty.openpty()
    try:
        async with by_hand(theirs) as (process, ready):
            assert await quota(ready["base_url"]) == 150
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0


async def test_a_parent_behind_a_socket() -> None:
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


async def test_no_standard_input_at_all() -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$0" -m volc_moderation.emulator <&-', sys.executable), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await quota(json.loads(await process.stdout.readline())["base_url"]) == 150
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("told", "code", "says"),
    [
        (b"", 0, b""),  # a parent that died first
        (b'{"access_key": "half', 0, b""),
        (b"[1]\n", 1, b"must be a JSON object of settings"),
        (b'{"unheard": "hidden"}\n', 1, b"unheard"),
        (b'{"secret_key": "hidden\n', 1, b"must be a JSON object of settings"),
        (2**21 * b" " + b"\n", 1, b"must be a JSON object of settings"),
    ],
)
async def test_settings_that_are_none(told: bytes, code: int, says: bytes) -> None:
    """And what is said about them tells no key."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "volc_moderation.emulator"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(told)
    assert (process.returncode, output) == (code, b"")
    assert says in errors
    assert errors.count(b"\n") <= 1
    assert b"hidden" not in errors


async def test_a_process_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are never read, which is no error of another kind."""
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
    """Return how calls of the administrator and to the vendors are answered."""
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
    """By a page of another origin, and by a name that was made to point here; both at every address."""
    moderation_emulator.join("zego", "room", "user")
    async with httpx.AsyncClient(base_url=moderation_emulator.base_url, trust_env=False) as client:
        await client.post("/?Action=Seen")
        assert await statuses(moderation_emulator.base_url, headers) == len(PAGE_CALLS) * [403]
        preflight = await client.options("/_emulator/reset", headers=headers)
        assert preflight.status_code == 403
        assert "emulator" in preflight.json()["error"]
        assert "Access-Control-Allow-Origin" not in preflight.headers
    assert set(moderation_emulator.counts()) == {"Seen"}  # nothing was reset, nothing arrived


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
async def served(host: str, *, emulator: Emulator | None = None, **options: Any) -> AsyncIterator[str]:
    listener, end = listen(host, 0), asyncio.Event()
    serving = asyncio.create_task(serve(emulator or Emulator(), listener, until=end.wait(), **options))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    end.set()
    await serving


async def test_the_name_that_it_listens_on_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def find(host: str, *arguments: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host == "emulator" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", find)
    async with served("emulator") as base_url:
        assert set(await statuses(base_url, {"Host": "Emulator:8765"})) == {204, 200, 401}
        assert set(await statuses(base_url, {"Host": "other:8765"})) == {403}


async def test_on_all_addresses_names_must_be_given() -> None:
    """As in a container, whose name is not known to the emulator."""
    async with served("0.0.0.0") as base_url:  # noqa: S104 - as in a container
        assert set(await statuses(base_url, {"Host": "192.0.2.7:8765"})) == {204, 200, 401}
        assert set(await statuses(base_url, {"Host": "emulator:8765"})) == {403}
    async with served("0.0.0.0", hosts=["emulator"]) as base_url:  # noqa: S104
        assert set(await statuses(base_url, {"Host": "emulator:8765"})) == {204, 200, 401}
        assert set(await statuses(base_url, {"Host": "evil.example"})) == {403}
