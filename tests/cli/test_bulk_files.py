"""The command ``bulk`` with bad files or options: it names the problem, sends nothing, and leaves no files behind."""

import errno
import gzip
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import NOWHERE
from tests.doubles import environment
from volc_moderation.cli.app import run

pytestmark = pytest.mark.slow

#: The lines of a large file before the first bad one.
GOOD_LINES = 70_000

STOP = ("--action", "StopCensorAudioV2")
GOOD = b"task_id\nt1\nt2\nt3\n"

Bulk = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bulk(folder: Path, sent: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bulk:
    """Return a function that runs the command in this process, and returns its exit code, output and errors."""
    monkeypatch.setenv("COLUMNS", "160")

    def bulk(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["bulk", *arguments])
        return code, *capsys.readouterr()

    return bulk


def write(folder: Path, content: bytes | Sequence[bytes], name: str = "calls.csv") -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else b"\n".join(content) + b"\n")
    return name


def left_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def truncated_gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)[:-8]


#: More than one read returns.
LONG = b"task_id\n" + b"".join(b"t%d\n" % number for number in range(20_000))


# Files that cannot be read

UNREADABLE: dict[str, tuple[bytes, tuple[str, ...], str]] = {
    "an unknown column": (
        b"task_id,colour\nt,red\n",
        STOP,
        "calls.csv, line 1: unknown column 'colour'; StopCensorAudioV2 has task_id. To leave out what is no field, ",
    ),
    "no header": (b"t1\nt2\n", STOP, "calls.csv, line 1: unknown column 't1'; StopCensorAudioV2 has task_id. To leave"),
    "a missing column": (
        b"app_id,room_id\na,r\n",
        ("--action", "StopWebcast"),
        "calls.csv, line 1: column 'task_id' is missing; add it, or give all rows the same with --set task_id=VALUE\n",
    ),
    "no action": (GOOD, (), "calls.csv, line 1: there is no column 'action'; add one, or give --action\n"),
    "a column twice": (b"task_id,task_id\n1,2\n", STOP, "calls.csv, line 1: column 'task_id' appears twice\n"),
    "an unclosed quote": (
        GOOD + b'"t4\nt5\n',
        STOP,
        "calls.csv, line 5: unexpected end of data; is a quote not closed?\n",
    ),
    "an empty file": (b"", STOP, "calls.csv is empty\n"),
    "no row": (b"task_id\n", STOP, "the files contain no calls; nothing was sent\n"),
    "UTF-16": (GOOD.decode().encode("utf-16"), STOP, "calls.csv is UTF-16; save it as UTF-8\n"),
    "a JSON array": (b'[{"task_id": "t"}]', STOP, "calls.csv is one JSON array; write one object on each line"),
    "a truncated gzip": (truncated_gzip(GOOD), STOP, "calls.csv: the compressed file is damaged: "),
    "a long truncated gzip": (truncated_gzip(LONG), STOP, "calls.csv, after line 1"),
    "garbage as gzip": (b"\x1f\x8b garbage", STOP, "calls.csv: the compressed file is damaged: "),
    "a truncated Parquet": (b"PAR1 and no more", STOP, "calls.csv cannot be read: "),
}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(("content", "options", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_2(
    bulk: Bulk,
    folder: Path,
    sent: list[object],
    content: bytes,
    options: tuple[str, ...],
    message: str,
) -> None:
    code, output, errors = bulk(write(folder, content), *options)
    assert (code, output) == (2, "")
    assert errors.startswith(message)
    assert errors.count("\n") == 1
    assert not sent
    assert left_in(folder) == {"calls.csv"}


@pytest.mark.parametrize(("content", "options", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_dry_run_prints_the_same_error(
    bulk: Bulk, folder: Path, content: bytes, options: tuple[str, ...], message: str
) -> None:
    code, output, errors = bulk(write(folder, content), *options, "--dry-run")
    assert code == 2
    if message.startswith("the files contain no calls"):
        assert output == "0 calls, 0 bad rows. Nothing was sent.\n"
    else:
        assert errors.startswith(message)
    assert left_in(folder) == {"calls.csv"}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("option", [(), ("--dry-run",)], ids=["", "dry-run"])
def test_a_path_that_is_not_a_file_is_2(bulk: Bulk, folder: Path, option: tuple[str, ...]) -> None:
    (folder / "directory").mkdir()
    for name, reason in {"directory": errno.EISDIR, "nowhere": errno.ENOENT}.items():
        assert bulk(name, *STOP, *option) == (2, "", f"{name}: {os.strerror(reason)}\n")
    assert left_in(folder) == {"directory"}


@pytest.mark.usefixtures("keys")
def test_a_file_without_read_permission_is_2(bulk: Bulk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write(folder, GOOD)
    real_open = open

    def refuse(file: Any, *arguments: Any, **options: Any) -> Any:
        if file == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)
        return real_open(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    assert bulk(name, *STOP) == (2, "", f"{name}: {os.strerror(errno.EACCES)}\n")
    assert left_in(folder) == {name}


@pytest.mark.usefixtures("keys")
def test_nothing_is_sent_if_a_later_file_is_bad(bulk: Bulk, folder: Path, sent: list[object]) -> None:
    code, _, errors = bulk(write(folder, GOOD), write(folder, truncated_gzip(LONG), "more.gz"), *STOP, "--skip-bad")
    assert (code, sent) == (2, [])
    assert re.match(r"more\.gz, after line 1\d{4}: the compressed file is damaged: ", errors)
    assert left_in(folder) == {"calls.csv", "more.gz"}


# Files with bad rows


@pytest.mark.no_coverage
@pytest.mark.usefixtures("keys")
def test_bad_rows_at_the_end_of_a_large_file_are_named_and_nothing_is_sent(
    bulk: Bulk, folder: Path, sent: list[object]
) -> None:
    lines = [b"task_id", *(b"t%d" % number for number in range(GOOD_LINES - 1)), b"a\x01b", b"caf\xe9", b"last"]
    code, output, errors = bulk(write(folder, lines), *STOP)
    first, second, conclusion = errors.splitlines()
    assert (code, output, sent) == (2, "", [])
    assert first.startswith(
        f"calls.csv, line {GOOD_LINES + 1}: StopCensorAudioV2: task_id must be a str that is not empty, without control"
        " characters; "
    )
    assert second == f"calls.csv, line {GOOD_LINES + 2}: not UTF-8: byte 0xe9 in column 4; save as UTF-8"
    assert conclusion == "nothing was sent. Fix the bad rows, or skip them with --skip-bad"
    assert left_in(folder) == {"calls.csv"}


def test_lines_of_another_encoding_are_named(bulk: Bulk, folder: Path) -> None:
    row = b'{"action": "SendCustomCommand", "room_id": "r", "from_user_id": "u", "message_content": "%s"}'
    words = ["café".encode(encoding) for encoding in ("utf-8", "latin-1", "utf-8", "utf-8-sig", "utf-16-le")]
    code, output, errors = bulk(write(folder, [row % word for word in words]), "--dry-run")
    assert code == 2
    assert [line.partition(" in column")[0] for line in errors.splitlines()] == [
        "calls.csv, line 2: not UTF-8: byte 0xe9",
        "calls.csv, line 5: not UTF-8: byte 0xe9",
    ]
    assert output.endswith("3 calls, 2 bad rows. Nothing was sent.\n")


def test_a_dry_run_names_every_bad_row(bulk: Bulk, folder: Path) -> None:
    rows = [
        b"app_id,room_id,task_id,version",
        b"a,r,t,",
        b"a,r",
        b"a,r,t,1",
        b"a,,t,",
        *(30 * [b"a,r,t t,"]),
    ]
    code, output, errors = bulk(write(folder, rows), "--action", "StopWebcast", "--dry-run")
    assert code == 2
    assert [line.partition(";")[0] for line in errors.splitlines()] == [
        "calls.csv, line 3: 2 columns, but the header has 4",
        (
            "calls.csv, line 4: StopWebcast: version must be one of '2020-12-01', '2023-11-01',"
            " or a later date as YYYY-MM-DD"
        ),
        "calls.csv, line 5: room_id is missing",
        *(
            rf"calls.csv, line {line}: StopWebcast: task_id must be a str that matches [a-zA-Z0-9_@\-\.]{{1,128}}"
            for line in range(6, 36)
        ),
    ]
    assert output.endswith("1 call, 33 bad rows. Nothing was sent.\n")
    assert left_in(folder) == {"calls.csv"}


@pytest.mark.usefixtures("keys")
def test_a_run_names_the_first_bad_rows_and_counts_the_rest(bulk: Bulk, folder: Path, sent: list[object]) -> None:
    code, _, errors = bulk(write(folder, [b"task_id", *(30 * [b"a\x01b"])]), *STOP)
    *rows, more, conclusion = errors.splitlines()
    assert (code, sent) == (2, [])
    assert [row.partition(": ")[0] for row in rows] == [f"calls.csv, line {line}" for line in range(2, 22)]
    assert more == "… and 10 more bad rows"
    assert conclusion.startswith("nothing was sent")
    assert left_in(folder) == {"calls.csv"}


# Good files


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (GOOD, STOP),
        (b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"), STOP),
        (gzip.compress(GOOD, mtime=0), STOP),
        (GOOD.replace(b"task_id", b"TaskId"), ("--set", "action=StopCensorAudioV2")),
        (b'{"TaskId": "t1"}\n\n{"task_id": "t2"}\n{"task_id": "t3"}', STOP),
        (3 * b'{"action": "StopCensorAudioV2"}\n', ("--set", "task_id=t1")),
        (GOOD + b"a\x01b\n", (*STOP, "--limit", "3")),
    ],
    ids=["CSV", "BOM", "gzip", "a constant action", "JSON Lines", "a constant field", "a limit"],
)
def test_a_dry_run_needs_no_credentials(bulk: Bulk, folder: Path, content: bytes, options: tuple[str, ...]) -> None:
    code, output, errors = bulk(write(folder, content), *options, "--dry-run")
    assert (code, errors) == (0, "")
    assert [line.split() for line in output.splitlines() if "StopCensor" in line] == [
        ["StopCensorAudioV2", "3", "100/s", "less", "than", "1", "s", "StopCensorAudioV2(task_id='t1')"]
    ]
    assert output.endswith("3 calls, 0 bad rows. Nothing was sent.\n")
    assert left_in(folder) == {"calls.csv"}


def test_a_dry_run_has_a_line_for_each_action(bulk: Bulk, folder: Path) -> None:
    rows = [b"action,app_id,room_id,task_id", *(450 * [b"StopWebcast,a,r,t"]), b"StopCensorAudioV2,,,t"]
    rows += [b"StopDetection,a,r,", b"StopCensorAudioV2,,,u"]
    code, output, _ = bulk(write(folder, rows), "--dry-run")
    assert code == 0
    table = [line.split()[:5] for line in output.splitlines() if "(" in line]
    assert table == [
        ["StopWebcast", "450", "150/s", "about", "3"],
        ["StopCensorAudioV2", "2", "100/s", "less", "than"],
        ["StopDetection", "1", "20/s,", "learned", "less"],
    ]


def test_standard_input_is_read_through_a_pipe(folder: Path) -> None:
    main = (sys.executable, "-c", "from volc_moderation.cli import main; main()")
    process = subprocess.run(  # noqa: S603 - our own
        [*main, "bulk", *STOP, "--dry-run", "--", "-"],
        input=gzip.compress(GOOD + b"a\x01b\n", mtime=0),
        capture_output=True,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr.startswith(b"standard input, line 5: StopCensorAudioV2: task_id must be ")
    assert process.stdout.endswith(b"3 calls, 1 bad row. Nothing was sent.\n")
    assert left_in(folder) == set()


@pytest.mark.parametrize(
    ("command", "file", "signals"),
    [(["bulk", *STOP], "-", 1), (["bulk", *STOP], "silent", 2), (["sweep"], "-", 2), (["sweep"], "silent", 1)],
)
def test_an_interrupt_ends_reading_from_a_silent_source(
    folder: Path, keys: None, command: list[str], file: str, signals: int
) -> None:
    """A thread that reads from a terminal, or from a pipe without a writer, cannot be woken."""
    os.mkfifo(folder / "silent")
    (folder / "journals").mkdir()
    main = (sys.executable, "-c", "from volc_moderation.cli import main; main()")
    with subprocess.Popen(  # noqa: S603 - our own
        [*main, *command, "--", file],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(folder / "journals")},
        text=True,
    ) as process:
        try:
            end = time.monotonic() + 10
            while not list(folder.rglob("*-wal")) and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.1)
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.1)
            assert process.wait(10) == 130
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read().endswith("interrupted; nothing was sent\n")
    assert {path.name for path in folder.rglob("*")} == {"silent", "journals"}


def test_a_hyphen_is_standard_input(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD)))
    assert bulk("-", *STOP, "--dry-run")[0] == 0


def test_markup_in_a_message_is_shown_as_text(bulk: Bulk, folder: Path) -> None:
    row = b'{"action": "SendCustomCommand", "room_id": "r", "from_user_id": "u", "message_content": "[b]go[/i]"}'
    code, output, _ = bulk(write(folder, row), "--dry-run")
    assert code == 0
    assert "[b]go[/i]" in output


@pytest.mark.usefixtures("keys")
def test_the_journal_of_standard_input(
    bulk: Bulk, folder: Path, sent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD)))
    assert bulk(*STOP, "--", "-")[0] == 3
    assert sent
    assert "stdin.jobs" in left_in(folder)


# Usage


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"action,task_id\nStopCensorAudioV2,t\n", "ZEGO_APP_ID"),
        (b"action,app_id,room_id,task_id\nStopWebcast,a,r,t\n", "VOLCENGINE_ACCESS_KEY"),
    ],
)
def test_missing_credentials_are_3(bulk: Bulk, folder: Path, content: bytes, name: str) -> None:
    code, output, errors = bulk(write(folder, content))
    assert (code, output) == (3, "")
    assert name in errors
    assert left_in(folder) == {"calls.csv"}


def test_the_credentials_of_the_other_vendor_may_be_missing(
    bulk: Bulk, folder: Path, sent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ZEGO_APP_ID", "ZEGO_SERVER_SECRET", "ZEGO_BASE_URL"):
        monkeypatch.setenv(name, environment(NOWHERE)[name])
    bulk(write(folder, GOOD), *STOP)
    assert sent


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a file, - for standard input, or --resume"),
        (["--dry-run"], "give a file to check"),
        (["calls.csv", *STOP, "--resume"], "there is no journal calls.csv.jobs to resume"),
        (["--resume", "--journal", "my.jobs"], "there is no journal my.jobs to resume"),
        (["--resume"], "--resume needs --journal, or the file that the journal was created from"),
        (["calls.csv", *STOP, "--retry-failed"], "--retry-failed and --retry-interrupted need --resume"),
        (["calls.csv", *STOP, "--set", "task_id"], "--set must be NAME=VALUE, such as app_id=abc; got 'task_id'"),
        (["calls.csv", *STOP, "--set", "=t"], "--set must be NAME=VALUE, such as app_id=abc; got '=t'"),
        (["calls.csv", *STOP, "--set", "colour=red"], "no action has a field colour"),
        (["calls.csv", "--action", "stop_webcast"], "there is no action 'stop_webcast'; did you mean StopWebcast?"),
    ],
)
def test_bad_usage_is_2(bulk: Bulk, folder: Path, sent: list[object], arguments: Sequence[str], message: str) -> None:
    write(folder, GOOD)
    assert bulk(*arguments) == (2, "", f"{message}\n")
    assert not sent
    assert left_in(folder) == {"calls.csv"}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--rate", "0"], ["--on-temporary", "never"], ["--unheard"]])
def test_unknown_options_and_values_out_of_range_are_2(
    bulk: Bulk, folder: Path, sent: list[object], arguments: list[str]
) -> None:
    assert bulk(write(folder, GOOD), *STOP, *arguments)[0] == 2
    assert not sent
    assert left_in(folder) == {"calls.csv"}


@pytest.mark.usefixtures("keys")
def test_an_unfinished_journal_is_continued_only_with_resume(bulk: Bulk, folder: Path, sent: list[object]) -> None:
    name = write(folder, GOOD)
    assert bulk(name, *STOP)[0] == 3  # the first call ends the run
    before = len(sent)
    assert before > 0
    code, _, errors = bulk(name, *STOP)
    assert code == 2
    assert errors == (
        "calls.csv.jobs belongs to an unfinished run: 0 done, 3 left. To add these rows to it, give --resume here;"
        " to start another run, give another --journal. Resume with: volc-moderation bulk --resume --journal"
        " calls.csv.jobs\n"
    )
    assert len(sent) == before
    assert left_in(folder) == {"calls.csv", "calls.csv.jobs", "calls.csv.jobs-lock"}
    assert bulk("--resume", "--journal", "calls.csv.jobs")[0] == 3
    assert len(sent) > before


@pytest.mark.usefixtures("keys")
def test_a_bad_file_added_to_a_journal_adds_nothing(bulk: Bulk, folder: Path, sent: list[object]) -> None:
    journal = ("--resume", "--journal", "calls.csv.jobs")
    bulk(write(folder, GOOD), *STOP)
    before = len(sent)
    assert bulk(write(folder, b"task_id\nt4\na\x01b\n", "more.csv"), *STOP, *journal)[0] == 2
    assert len(sent) == before
    _, _, errors = bulk(write(folder, b"task_id\nt1\nt4\n", "more.csv"), *STOP, *journal)
    assert errors.startswith("2 rows, 1 call (1 already in the journal)\n")
