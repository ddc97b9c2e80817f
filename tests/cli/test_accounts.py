"""The options ``--accounts`` and ``--account``, and the column ``account`` of files."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from tests.cli.commands import Command, received
from tests.doubles import KEYS
from volc_moderation import WindowQuotas, ZegoClient, accounts
from volc_moderation.jobs import JobState
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.testing import ModerationEmulator
from volc_moderation.zego import ResumeRTCStream

#: Both environments of one project are two accounts: ZEGO counts their calls apart.
FILE = """
[accounts.live]
vendor = "zego"
app_id = {app_id}
server_secret = {{ env = "LIVE_SECRET" }}
base_url = "{url}"

[accounts.trial]
vendor = "zego"
app_id = {app_id}
server_secret = {{ env = "TRIAL_SECRET" }}
is_test = true
base_url = "{url}"

[accounts.china]
vendor = "volcengine"
access_key = {{ env = "CHINA_KEY" }}
secret_key = {{ env = "CHINA_SECRET" }}
account = "china"
app_id = "app"
base_url = "{url}"
"""


@pytest.fixture
def file(folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write an accounts file, and remove the keys of its vendors from the environment."""
    for name in ("ZEGO_APP_ID", "ZEGO_SERVER_SECRET", "VOLCENGINE_ACCESS_KEY", "VOLCENGINE_SECRET_KEY"):
        monkeypatch.delenv(name)
    for name, key in (("LIVE", KEYS.server_secret), ("TRIAL", KEYS.server_secret), ("CHINA", KEYS.secret_key)):
        monkeypatch.setenv(f"{name}_SECRET", key)
    monkeypatch.setenv("CHINA_KEY", KEYS.access_key)
    path = folder / "accounts.toml"
    path.write_text(FILE.format(app_id=KEYS.app_id, url=vendor.base_url))
    return path


def rows(folder: Path, text: str) -> str:
    (folder / "calls.csv").write_text(text)
    return "calls.csv"


def resumed(vendor: ModerationEmulator) -> dict[str, int]:
    """Return how many streams the emulator was asked to resume, by the environment."""
    return {name: count["received"] for name, count in vendor.counts().items() if name.startswith("Resume")}


MIXED = (
    "action,account,stream_id,app_id,task_id,room_id\n"
    "ResumeRTCStream,live,1,,,\n"
    "ResumeRTCStream,trial,1,,,\n"
    "StopWebcast,china,,app,1,room\n"
    "StopWebcast,,,app,2,room\n"
)


def test_each_row_goes_to_its_account(command: Command, folder: Path, file: Path, vendor: ModerationEmulator) -> None:
    code, _, errors = command("bulk", rows(folder, MIXED), "--accounts", str(file))
    assert code == 0, errors
    assert resumed(vendor) == {"ResumeRTCStream": 1, "ResumeRTCStream test": 1}
    assert received(vendor) == 2
    code, output, _ = command("jobs", "calls.csv.jobs", "--accounts", str(file), "--account", "trial", "--export")
    (job,) = map(json.loads, output.splitlines())
    assert (code, job["state"], job["parameters"]) == (0, "done", {"StreamId": "1"})


def test_the_default_account_is_that_of_rows_without_one(
    command: Command, folder: Path, file: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLC_MODERATION_ACCOUNTS", str(file))
    name = rows(folder, "stream_id\n1\n2\n")
    code, _, errors = command("bulk", name, "--action", "ResumeRTCStream")
    assert code == 2
    assert "line 2: the accounts file has 2 accounts of zego: add a column 'account', or give --account" in errors
    assert command("bulk", name, "--action", "ResumeRTCStream", "--account", "trial")[0] == 0
    assert resumed(vendor) == {"ResumeRTCStream test": 2}


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        (
            "stream_id,account\n1,lvie\n",
            (),
            "line 2: there is no account 'lvie' in the accounts file; did you mean live?",
        ),
        ("stream_id,account\n1,china\n", (), "the account china is one of volcengine, and ResumeRTCStream one of zego"),
        ("stream_id\n1\n", ("--account", "nobody"), "there is no account 'nobody' in the accounts file"),
        ("stream_id\n1\n", ("--set", "account=lvie"), "line 2: there is no account 'lvie'"),
    ],
)
@pytest.mark.parametrize("is_dry", [True, False])
def test_a_row_of_an_unknown_account_is_bad(
    command: Command, folder: Path, file: Path, text: str, options: tuple[str, ...], reason: str, is_dry: bool
) -> None:
    dry = ("--dry-run",) if is_dry else ()
    name = rows(folder, text)
    code, _, errors = command("bulk", name, "--action", "ResumeRTCStream", "--accounts", str(file), *options, *dry)
    assert code == 2
    assert reason in errors


def test_the_column_and_the_option_need_a_file(command: Command, folder: Path) -> None:
    name = rows(folder, "stream_id,account\n1,live\n")
    for options in ((), ("--set", "account=live")):
        code, _, errors = command("bulk", name, "--action", "ResumeRTCStream", *options)
        assert (code, "give --accounts FILE" in errors) == (2, True)
    for words in (("bulk", name), ("sweep", name), ("worker", "--redis", "redis://127.0.0.1:1"), ("jobs", "x")):
        code, _, errors = command(*words, "--account", "live")
        assert code == 2
        assert errors == "--account needs --accounts FILE, or VOLC_MODERATION_ACCOUNTS\n"


def test_the_command_that_resumes_a_run_has_the_accounts(command: Command, folder: Path, file: Path) -> None:
    name = rows(folder, MIXED)
    assert command("bulk", name, "--accounts", str(file), "--limit", "1")[0] == 0
    code, _, errors = command("bulk", "--resume", "--journal", "calls.csv.jobs", "--accounts", str(file))
    assert code == 0, errors
    file.write_text(file.read_text().replace("accounts.live", "accounts.other"))
    code, _, errors = command("bulk", "--resume", "--journal", "calls.csv.jobs", "--accounts", str(file))
    assert code == 0, errors  # the name is this file's; the account is the AppId


def test_accounts_without_keys_matter_only_to_their_rows(
    command: Command, folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIAL_SECRET")
    name = rows(folder, "account,stream_id\nlive,1\n")
    options = ("--action", "ResumeRTCStream", "--accounts", str(file))
    code, _, errors = command("bulk", name, *options)
    assert code == 0, errors
    code, _, errors = command("bulk", rows(folder, "account,stream_id\ntrial,1\n"), *options, "--journal", "other.jobs")
    assert code == 3
    assert "accounts.trial: server_secret needs the environment variable TRIAL_SECRET, which is not set" in errors


def test_a_call_names_its_account_if_there_are_several(command: Command, file: Path) -> None:
    stop = ("call", "ResumeRTCStream", "--stream-id", "1", "--accounts", str(file))
    code, _, errors = command(*stop)
    assert (code, "say which with --account: live, trial" in errors) == (2, True)
    assert command(*stop, "--account", "trial")[0] == 0
    code, _, errors = command(*stop, "--account", "china")
    assert (code, "makes this call" in errors) == (2, True)
    listing = ("call", "ListDetectionTask", "--room-id", "room", "--accounts", str(file))
    code, output, errors = command(*listing)
    assert (code, json.loads(output)["attempts"]) == (0, 1), errors


def test_a_sweep_names_its_account_if_there_are_several(command: Command, folder: Path, file: Path) -> None:
    name = rows(folder, "app_id,room_id\napp,room\n")
    assert command("sweep", name, "--accounts", str(file))[0] == 0
    second = FILE.format(app_id=1, url="http://127.0.0.1:1").partition("[accounts.china]")[2]
    file.write_text(file.read_text() + "[accounts.other]" + second.replace('"china"', '"other"'))
    code, _, errors = command("sweep", name, "--accounts", str(file))
    assert (code, "say which" in errors) == (3, True)
    assert command("sweep", name, "--accounts", str(file), "--account", "china")[0] == 0


def test_a_file_that_cannot_be_used_is_an_error_of_credentials(command: Command, folder: Path, file: Path) -> None:
    name = rows(folder, "stream_id\n1\n")
    file.write_text("[accounts.x]\n")
    code, _, errors = command("bulk", name, "--action", "ResumeRTCStream", "--accounts", str(file))
    assert (code, "accounts.x: vendor is missing" in errors) == (3, True)


async def test_workers_make_the_calls_of_the_accounts_whose_keys_they_have(
    file: Path, redis: object, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers with different keys: each job is done by the one that can, and none fails meanwhile."""

    async def work(name: str) -> None:
        async with (
            accounts.load(file, names=[name], quotas=WindowQuotas()) as own,
            DistributedJobs(valkey, clients=[*own.values()]) as jobs,
        ):
            await jobs.work()

    async with accounts.load(file, quotas=WindowQuotas()) as loaded:
        live, trial = loaded.of(ZegoClient)["live"], loaded.of(ZegoClient)["trial"]
        async with DistributedJobs(valkey, clients=[live, trial]) as jobs:
            stops = [ResumeRTCStream(stream_id=str(number)) for number in range(10)]
            of_live = [await jobs.submit(stop, client=live) for stop in stops]
            of_trial = [await jobs.submit(stop, client=trial) for stop in stops]
            workers = [asyncio.create_task(work("live"))]
            done = await asyncio.wait_for(asyncio.gather(*of_live), 20)
            waiting = await asyncio.gather(*(handle.status() for handle in of_trial))
            assert {job.state for job in done} == {JobState.DONE}
            assert {job and job.state for job in waiting} == {JobState.PENDING}
            workers.append(asyncio.create_task(work("trial")))
            done = await asyncio.wait_for(asyncio.gather(*of_trial), 20)
            assert {job.state for job in done} == {JobState.DONE}
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


def test_a_worker_says_which_accounts_it_serves_and_which_it_cannot(
    command: Command, file: Path, valkey: str, redis: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIAL_SECRET")
    monkeypatch.setattr(DistributedJobs, "work", _return_at_once)
    code, _, errors = command("worker", "--redis", valkey, "--accounts", str(file))
    assert code == 0
    assert "Working for queue moderation: live, china" in errors
    assert "Without the account trial: " in errors
    assert "TRIAL_SECRET" in errors
    code, _, errors = command("worker", "--redis", valkey, "--accounts", str(file), "--account", "china")
    assert "Working for queue moderation: china" in errors


async def _return_at_once(self: DistributedJobs) -> None:
    assert threading.current_thread() is threading.main_thread()
