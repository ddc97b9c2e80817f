"""The command ``jobs``: what it shows of a journal and of a queue, in a terminal and in a file."""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.cli.commands import Command
from tests.doubles import NOW, free_port
from tests.jobs.journals import LANE, record
from volc_moderation.cli.environment import REDIS_VARIABLE
from volc_moderation.cli.queue_view import show_queue
from volc_moderation.cli.terminal import stdout
from volc_moderation.jobs.job import INTERRUPTED, JobState, Lane
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.outcome import EndedAttempt, Outcome
from volc_moderation.jobs.queue.overview import QueueOverview
from volc_moderation.jobs.queue.records import Claim, ClaimedAttempt, Submission, WorkerLaneStatus, WorkerStatus
from volc_moderation.jobs.queue.redis_queue import RedisQueue, queue_client

DENIED = "AccessDenied.NoPermissionForApp"
MESSAGE = "The account may not operate this app. " + 10 * "Ask the administrator of the account for the permission. "
FAILED = {"state": "failed", "code": DENIED, "message": MESSAGE}


def journal_of(folder: Path, *outcomes: dict[str, Any], lane: Lane = LANE, due: float = NOW, **parameters: Any) -> str:
    """Write a journal of one job per outcome, and return its name. An empty outcome is a job that is left."""
    common = {"AppId": "app", "TaskId": "wall"} | parameters
    with contextlib.closing(Journal(folder / "jobs")) as journal, journal.transaction():
        number = journal.lane_id(lane)
        rows = [
            (f"{row:02}" + 9 * "ab", number, json.dumps({"RoomId": f"room-{row}"} | common), row + 2)
            for row in range(len(outcomes))
        ]
        journal.load(rows, due=due, now=NOW)
        taken = sum(map(bool, outcomes))
        journal.take(number, taken, due=due, now=NOW)
        journal.record([record(row, lane_id=number, **known) for row, known in enumerate(outcomes, 1) if known])
    return "jobs"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, command: Command) -> Any:
    """Return a function that runs a command in a terminal of some width, and returns the lines of its output."""

    def run(width: int, *arguments: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        code, output, errors = command(*arguments)
        assert (code, errors) == (0, "")
        return re.sub(r"\x1b\[[\d;]*m", "", output).splitlines()

    return run


# A table in a terminal


@pytest.mark.parametrize("width", [40, 80, 100, 140, 200])
def test_a_job_fits_into_a_terminal(terminal: Any, folder: Path, width: int) -> None:
    """On one line; below 140 columns, the message has a second line. What is cut ends with an ellipsis."""
    name = journal_of(folder, FAILED, FAILED, RoomName=60 * "房间")
    _, head, *lines = terminal(width, "jobs", name, "--state", "failed")
    assert len(lines) == (2 if width >= 140 else 4)
    for line in lines:
        assert cell_len(line) <= width
    if width >= 80:
        assert head.split()[-6 if width < 140 else -7 :][:4] == ["key", "action", "state", "attempts"]
        for row, line in enumerate(lines[:: 1 if width >= 140 else 2]):
            assert f"{row:02}ababab  StopWebcast  failed" in line
            assert f"room-{row} wall" in line
            assert "AccessDenied.N" in line
    assert any("The account may not operate" in line and line.endswith("…") for line in lines)


def test_whole_keys_in_a_terminal(terminal: Any, folder: Path) -> None:
    name = journal_of(folder, FAILED)
    key = "00" + 9 * "ab"
    assert key not in "".join(terminal(80, "jobs", name, "--state", "failed"))
    assert key in "".join(terminal(80, "jobs", name, "--state", "failed", "--full-keys"))


@pytest.mark.parametrize(
    ("lane", "parameters", "shown"),
    [
        (Lane("zego", "a", "CloseRoom"), {"RoomId": "r1"}, "r1"),
        (Lane("zego", "a", "KickoutUser"), {"RoomId": "r1", "UserId": ["u1", "u2"]}, "r1 u1,u2"),
        (
            Lane("volcengine", "a", "StartWebcast", "2020-12-01"),
            {"RoomId": "r1", "TaskId": "t", "BusinessId": "b"},
            "r1 t",
        ),
        (Lane("gone", "a", "Old"), {"RoomId": "r1", "Name": "n"}, "r1"),
    ],
)
def test_a_target_is_identified(
    terminal: Any, folder: Path, lane: Lane, parameters: dict[str, Any], shown: str
) -> None:
    parameters = {"TaskId": ""} | parameters
    *_, line = terminal(120, "jobs", journal_of(folder, {}, lane=lane, **parameters), "--state", "pending")
    assert line.rstrip().endswith(f"  0        {shown}"), line


# A table in a file


def test_nothing_is_cut_in_a_file(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = journal_of(folder, FAILED, FAILED, RoomName=200 * "房间")
    code, output, _ = command("jobs", name, "--state", "failed")
    lines = output.splitlines()
    assert (code, len(lines)) == (0, 4)
    for row, line in enumerate(lines[2:]):
        for text in (f"{row:02}" + 9 * "ab", "StopWebcast", DENIED, MESSAGE.strip(), f'"room-{row}"', 200 * "房间"):
            assert text in line


# Filters


def test_the_beginning_of_a_key_selects_jobs(command: Command, folder: Path) -> None:
    name = journal_of(folder, *12 * [{}])
    for prefix, rows in (("03", [3]), ("03abababab", [3]), ("1", [10, 11]), ("03" + 9 * "ab", [3]), ("3", [])):
        _, output, _ = command("jobs", name, "--key", prefix, "--export")
        assert [json.loads(line)["line"] - 2 for line in output.splitlines()] == rows, prefix


def test_a_filter_that_selects_nothing(command: Command, folder: Path) -> None:
    name = journal_of(folder, {})
    for options in (("--state", "failed"), ("--action", "CloseRoom"), ("--code", "1"), ("--key", "none")):
        code, output, errors = command("jobs", name, *options)
        assert (code, output.splitlines()[1:], errors) == (0, ["no job matches"], "")
        assert command("jobs", name, *options, "--export") == (0, "", "no job matches\n")


def test_unknown_actions_and_states_are_2(command: Command, folder: Path) -> None:
    """The actions are those of the vendors and of the journal, which another version may have written."""
    name = journal_of(folder, {}, lane=Lane("volcengine", "a", "StopPodcast"))
    for wrong, near in (("StopWebcas", "StopWebcast"), ("stoppodcast", "StopPodcast"), ("STOPPODCAST", "StopPodcast")):
        error = f"--action: there is no action '{wrong}'; did you mean {near}?\n"
        assert command("jobs", name, "--action", wrong) == (2, "", error)
    error = "--action: there is no action 'x'; the journal has StopPodcast\n"
    assert command("jobs", name, "--action", "x") == (2, "", error)
    assert "Pod" in command("jobs", name, "--action", "StopPodcast")[1]
    code, _, errors = command("jobs", name, "--state", "faild")
    assert (code, errors.count("\n")) == (2, 1)
    assert 'Did you mean "failed"?' in errors


def test_a_filter_that_is_no_text_is_2(command: Command, folder: Path) -> None:
    """The journal is not to blame. SQLite has no text for bytes that are not UTF-8."""
    name = journal_of(folder, {})
    for option in ("--code", "--key"):
        assert command("jobs", name, option, os.fsdecode(b"a\xff")) == (2, "", f"{option} is not valid UTF-8\n")


def test_a_limit_says_that_there_are_more(command: Command, folder: Path) -> None:
    name = journal_of(folder, *3 * [{}])
    more = "These are the first 2 jobs; there are more. --limit shows more of them."
    assert command("jobs", name, "--limit", "2")[1].splitlines()[-1] == more
    assert more not in command("jobs", name, "--limit", "3")[1]


# The numbers of a journal


def test_a_journal_shows_its_failures_and_when_the_next_job_is_due(command: Command, folder: Path) -> None:
    failed: list[dict[str, Any]] = [FAILED, FAILED, {"state": "given up", "code": 504, "message": "busy"}]
    name = journal_of(folder, *failed, {}, due=time.time() - 300)
    code, output, _ = command("jobs", name)
    assert code == 0
    assert re.search(r"StopWebcast +failed +2 *\n +StopWebcast +given up +1 *\n +StopWebcast +pending +1", output)
    assert f"Failures by code:\n  2 times {DENIED}: {MESSAGE}\n  1 time code 504: busy\n" in output
    assert re.search(r"^The oldest due job has been due for about 5 min, since \d\d:\d\d:\d\d\.$", output, re.MULTILINE)


def test_a_journal_whose_next_job_is_not_due_yet(command: Command, folder: Path) -> None:
    later = {"state": "pending", "due": time.time() + 7200, "code": 504}
    output = command("jobs", journal_of(folder, later))[1]
    assert re.search(r"^The next job is due at \d\d:\d\d:\d\d, in about 1(20 min| h|19 min)", output, re.MULTILINE)


def test_a_journal_without_failures_has_no_further_lines(command: Command, folder: Path) -> None:
    output = command("jobs", journal_of(folder, {"state": "done"}))[1]
    assert "Failures" not in output
    assert "due" not in output


def test_the_command_that_goes_on_runs_when_it_is_pasted(command: Command, folder: Path) -> None:
    interrupted = {"state": "failed", "code": INTERRUPTED, "message": "?"}
    for outcomes, options, kind in (
        ([{"state": "done"}], "", None),
        ([FAILED, {}], "", "If no process runs these jobs, resume with: "),
        ([FAILED, {"state": "done"}], " --retry-failed", "Retry the failed calls with: "),
        ([interrupted], " --retry-interrupted", "Of the calls that must not be sent twice, 1 was interrupted"),
    ):
        name = journal_of(folder, *outcomes)
        *_, line = command("jobs", name)[1].splitlines()
        resume = f"volc-moderation bulk --resume --journal {name}{options}"
        assert (kind is not None) == line.endswith(resume), line
        assert line.startswith(kind or "  "), line
        (folder / name).unlink()


@pytest.mark.parametrize("note", ["incarnation", "port"])
def test_a_journal_of_workers_or_of_the_demo_has_another_command(command: Command, folder: Path, note: str) -> None:
    """Which queue or emulator it needs is not in the journal."""
    name = journal_of(folder, {})
    with contextlib.closing(Journal(folder / name)) as journal:
        journal.note(note, "1")
    assert "--resume" not in command("jobs", name)[1]


# A queue


LANES = {name: Lane("volcengine", "account", name, "2020-12-01") for name in ("StopWebcast", "StartWebcast")}
STOP_LANE = LANES["StopWebcast"]
REFUSED = Outcome(JobState.FAILED, code=DENIED, message="no")
BUSY = Outcome(JobState.GIVEN_UP, code=504, message="busy")
LATER = Outcome(JobState.PENDING, code=504, message="busy", wait=7200.0)
PASSWORD = "pa-ss@word"


async def fill_queue(
    address: str,
    *outcomes: Outcome | None,
    lane: Lane = STOP_LANE,
    name: str = "moderation",
    status: WorkerStatus | None = None,
    left: int = 0,
) -> None:
    """Submit jobs to a queue, of which one worker has taken one per outcome, and ``left`` are left. None is in flight.

    ``status``: of another worker, which listens.
    """
    queue = RedisQueue(queue_client(address), name, keep=600, reconnect=0)
    try:
        count = len(outcomes)
        await queue.submit([Submission(f"{lane.action}-{row}", lane, "{}", f"-{row}") for row in range(count + left)])
        if count:
            jobs, _ = await queue.take("w", lane, count, at_most_once=False)
            ended = [
                ClaimedAttempt(Claim(job.key, job.id), EndedAttempt(outcome, 1, 0.0, 0.1, 0.0, time.time()))
                for job, outcome in zip(jobs, outcomes, strict=True)
                if outcome is not None
            ]
            await queue.record("w", ended)
        if status is not None:
            await queue.heartbeat("listener", status, held=[], up_to_fence=0)
    finally:
        await queue.aclose()


def serving(*lanes: Lane, error: str = "") -> WorkerStatus:
    return WorkerStatus({lane: WorkerLaneStatus("VendorError" if error else "", error, None) for lane in lanes})


@pytest.fixture
def address(valkey: str, redis: Any) -> str:
    """Return the address of an empty Redis."""
    return valkey


def test_a_queue_is_shown_like_a_journal(command: Command, address: str, redis: Any) -> None:
    done = Outcome(JobState.DONE)
    asyncio.run(fill_queue(address, done, done, REFUSED, REFUSED, BUSY, None, left=3, status=serving(STOP_LANE)))
    code, output, errors = command("jobs", "--redis", address)
    assert (code, errors) == (0, "")
    assert output.startswith("Queue moderation: 2 workers listen.\n")
    rows = re.findall(r"^ +StopWebcast +(\S.*?) +(\d+\+?) *$", output, re.MULTILINE)
    assert rows == [("done", "2"), ("failed", "2"), ("given up", "1"), ("pending", "3"), ("sent", "1")]
    assert f"Failures by code:\n  2 times {DENIED}: no\n  1 time code 504: busy\n" in output
    assert re.search(r"^The oldest due job has been due for less than 1 s, since ", output, re.MULTILINE)
    assert "No worker" not in output


def test_how_long_a_job_has_been_due(command: Command, address: str, redis: Any) -> None:
    """By the clock of the queue, which may be ahead of the server's."""
    asyncio.run(fill_queue(address, LATER))
    output = command("jobs", "--redis", address)[1]
    assert re.search(r"^The next job is due at [\d:]+, in about (2 h 0|120) min", output, re.MULTILINE)
    asyncio.run(fill_queue(address, left=2, lane=LANES["StartWebcast"]))
    due = f"volc_moderation:{{moderation}}:due:{'/'.join(LANES['StartWebcast'])}"
    redis.zincrby(due, -300_000, "StartWebcast-1")
    assert "has been due for about 5 min, since" in command("jobs", "--redis", address)[1]
    redis.hset("volc_moderation:{moderation}:queue", "offset", 300_000)
    assert "has been due for about 10 min, since" in command("jobs", "--redis", address)[1]


def test_pending_jobs_that_no_worker_takes(command: Command, address: str, redis: Any) -> None:
    asyncio.run(fill_queue(address, left=1))
    start = (
        f"No worker listens to the queue. Start one with: volc-moderation worker --redis {address} --queue moderation"
    )
    output = command("jobs", "--redis", address)[1]
    assert output.startswith("Queue moderation: 0 workers listen.\n")
    assert start in output
    error = "the vendor refuses the keys"
    asyncio.run(fill_queue(address, left=12, lane=LANES["StartWebcast"], status=serving(STOP_LANE, error=error)))
    output = command("jobs", "--redis", address)[1]
    assert "Queue moderation: 1 worker listens.\n" in output
    assert "No worker has credentials for StartWebcast of volcengine, account account: 12 pending jobs.\n" in output
    assert f"StopWebcast of volcengine, account account waits in 1 worker: {error}\n" in output
    # A worker that has died is not one that listens, even if nobody has noticed.
    queue = "volc_moderation:{moderation}:queue"
    redis.hset(queue, "wall", int(redis.hget(queue, "wall")) - 16_000)
    assert start in command("jobs", "--redis", address)[1]


def test_showing_a_queue_changes_nothing(command: Command, address: str, redis: Any) -> None:
    def content() -> dict[bytes, bytes]:
        return {key: redis.dump(key) for key in redis.scan_iter()}

    assert command("jobs", "--redis", address, "--queue", "other")[0] == 2
    assert content() == {}
    asyncio.run(fill_queue(address, REFUSED, None, left=1, status=serving(STOP_LANE)))
    before = content()
    assert command("jobs", "--redis", address)[0] == 0
    assert content() == before


def test_a_large_queue_is_read_in_part(
    command: Command, address: str, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pending jobs are counted nevertheless."""
    monkeypatch.setattr("volc_moderation.jobs.queue.overview.MAX_JOBS_READ", 20)
    monkeypatch.setattr("volc_moderation.jobs.queue.overview.KEYS_PER_SCAN", 7)
    asyncio.run(fill_queue(address, *40 * [REFUSED], left=5))
    output = command("jobs", "--redis", address)[1]
    assert re.search(r"StopWebcast +pending +5 *\n", output)
    failed = re.search(r"StopWebcast +failed +(\d+)\+ *\n", output)
    assert failed is not None
    assert 15 <= int(failed[1]) <= 20
    assert "20 jobs were read, and the queue may have more; + means at least.\n" in output
    assert f"Failures by code among the jobs that were read:\n  {failed[1]} times {DENIED}: no\n" in output
    monkeypatch.setattr("volc_moderation.jobs.queue.overview.MAX_JOBS_READ", 45)
    assert re.search(r"StopWebcast +failed +40 *\n", command("jobs", "--redis", address)[1])
    monkeypatch.setattr("volc_moderation.jobs.queue.overview.MAX_SCANS", 2)
    assert "and the queue may have more; " in command("jobs", "--redis", address)[1]


def test_unknown_and_empty_queues(command: Command, address: str, redis: Any) -> None:
    for name, outcomes in (("a[b]*", [REFUSED]), ("ab", [REFUSED, REFUSED])):
        asyncio.run(fill_queue(address, *outcomes, name=name))
    code, output, _ = command("jobs", "--redis", address)
    assert (code, output) == (
        2,
        "The Redis has no queue moderation: nobody has submitted a job or started a worker.\n",
    )
    assert re.search(r" failed +1 ", command("jobs", "--redis", address, "--queue", "a[b]*")[1])
    asyncio.run(fill_queue(address, status=serving(STOP_LANE)))
    assert command("jobs", "--redis", address)[:2] == (0, "Queue moderation: 1 worker listens. It has no jobs.\n")


def test_what_another_program_wrote_is_left_out(command: Command, address: str, redis: Any) -> None:
    asyncio.run(fill_queue(address, REFUSED, REFUSED))
    for row, fields in enumerate(({"state": "odd"}, {"lane": "x"}, {"state": "failed", "outcome": "["})):
        redis.hset(f"volc_moderation:{{moderation}}:job:odd-{row}", mapping={"lane": "/".join(STOP_LANE)} | fields)
    redis.sadd("volc_moderation:{moderation}:lanes", "x", b"\xff")
    output = command("jobs", "--redis", address)[1]
    assert re.search(r"StopWebcast +failed +3 ", output)
    redis.set("volc_moderation:{moderation}:workers", "text")
    code, _, errors = command("jobs", "--redis", address)
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith("the queue cannot be reached: ResponseError: ")
    redis.hset("volc_moderation:{moderation}:queue", "wall", "noon")
    redis.delete("volc_moderation:{moderation}:workers")
    error = "the queue's record of its clocks cannot be read: ValueError\n"
    assert command("jobs", "--redis", address) == (1, "", error)


def test_the_address_in_the_environment(command: Command, folder: Path, address: str, monkeypatch: Any) -> None:
    """It does not matter if there is a journal."""
    name = journal_of(folder, FAILED)
    monkeypatch.setenv(REDIS_VARIABLE, address)
    asyncio.run(fill_queue(address, left=1))
    output = command("jobs")[1]
    assert "Queue moderation" in output
    assert "Start one with: volc-moderation worker --queue moderation\n" in output
    assert "jobs, last written by" in command("jobs", name)[1]


def test_a_redis_that_does_not_answer_is_1(command: Command) -> None:
    """Nothing shows its password."""
    for form in ("redis://:{}@127.0.0.1:{}", "redis://127.0.0.1:{1}/0?password={0}"):
        code, output, errors = command("jobs", "--redis", form.format(PASSWORD, free_port()))
        assert (code, output, errors.count("\n")) == (1, "", 1)
        assert errors.startswith("the queue cannot be reached: ConnectionError: ")
        assert "pa-ss" not in errors


def test_the_command_that_starts_a_worker_has_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    overview = QueueOverview({}, is_complete=True, jobs_read=0, failures=[], next_due=None, now=NOW, workers=[])
    show_queue(stdout(), overview, redis=f"redis://:{PASSWORD}@localhost", queue="moderation")
    output = capsys.readouterr().out
    assert "Start one with: volc-moderation worker --redis " in output
    assert "***" in output
    assert "pa-ss" not in output


def test_what_is_asked_of_the_command_must_be_clear(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, redis = journal_of(folder, FAILED), "redis://127.0.0.1:1"
    address = "--redis must be an address such as redis://localhost:6379\n"
    for arguments, error in (
        ((), f"jobs needs a journal, or the Redis of a queue: --redis redis://localhost, or {REDIS_VARIABLE}\n"),
        ((name, "--redis", redis), "give a journal or --redis, not both\n"),
        ((name, "--queue", "q"), "give a journal or --queue, not both\n"),
        ((f"redis://:{PASSWORD}@localhost",), "the address of a Redis belongs to --redis\n"),
        (("--redis", f"localhost:{PASSWORD}"), address),
        (("--redis", "redis://localhost:pa-ss"), address),
        (("--redis", f"redis://:{PASSWORD}@localhost?tiemout=3"), address),
        (("--redis", redis, "--queue", "{q}"), "--queue must be a name without braces\n"),
        (("--redis", redis, "--queue", os.fsdecode(b"\xff")), "--queue is not valid UTF-8\n"),
        (
            ("--redis", redis, "--export"),
            "--export is about a journal, and there is none; --redis shows a whole queue\n",
        ),
        (
            ("--redis", redis, "--key", "0"),
            "--key is about a journal, and there is none; --redis shows a whole queue\n",
        ),
    ):
        assert command("jobs", *arguments) == (2, "", error), arguments
    monkeypatch.setitem(sys.modules, "redis", None)
    assert command("jobs", "--redis", redis) == (2, "", "jobs needs redis: pip install 'volc_moderation[redis]'\n")
    assert command("jobs", name)[0] == 0
