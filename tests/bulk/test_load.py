"""Loading: bad rows are reported, and a load that is cancelled or fails writes nothing and closes its file."""

import contextlib
import io
from pathlib import Path

import pytest

from tests.bulk.files import GeneratedFile
from tests.doubles import volcengine_client
from volc_moderation import ConfigurationError, SourceError
from volc_moderation.bulk.load import FileCall, LoadProgress, load_actions, load_jobs, read_actions
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.bulk.sources import open_source
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import StopWebcast, VolcengineClient
from volc_moderation.zego import StopCensorAudioV2

PARSER = RowParser({"StopCensorAudioV2": StopCensorAudioV2}, action="StopCensorAudioV2", constants={})


def test_bad_rows_are_reported_with_their_lines_and_counted(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("task_id\na\nwith\ttab\nb\nc,d\n")
    messages: list[str] = []
    progress = LoadProgress()
    files = [str(tmp_path / "rows.csv")]
    actions = list(read_actions(files, PARSER, limit=None, on_bad_row=messages.append, progress=progress))
    assert actions == [FileCall(2, StopCensorAudioV2(task_id="a")), FileCall(4, StopCensorAudioV2(task_id="b"))]
    assert len(messages) == 2
    assert messages[0].startswith(f"{files[0]}, line 3: ")
    assert "task_id must be " in messages[0]
    assert messages[1] == f"{files[0]}, line 5: 2 columns, but the header has 1"
    assert (progress.good_rows, progress.bad_rows, progress.rows_by_action) == (2, 2, {"StopCensorAudioV2": 2})


def test_what_a_call_leaves_to_its_client_is_loaded(tmp_path: Path) -> None:
    clients = Clients([volcengine_client(app_id="app", version="2023-11-01")])
    stops = [StopWebcast(room_id="r", task_id="t"), StopWebcast(app_id="app", room_id="r", task_id="t")]
    calls = [FileCall(line, stop) for line, stop in enumerate(stops, 2)]
    with contextlib.closing(Journal(tmp_path / "calls.jobs")) as journal:
        with journal.transaction():
            loaded = load_jobs(journal, calls, lambda _vendor, _account: clients, now=0.0)
        (job,) = journal.jobs()
    assert loaded.new == 1
    assert (job.lane.version, job.parameters["AppId"]) == ("2023-11-01", "app")


def test_reading_stops_at_the_next_row_after_a_cancel() -> None:
    file, progress = GeneratedFile([b"task_id\n", *(b"%d\n" % number for number in range(10))]), LoadProgress()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "volc_moderation.bulk.load.open_source", lambda _: open_source("-", stdin=lambda: io.BufferedReader(file))
        )
        actions = read_actions(["calls"], PARSER, limit=None, on_bad_row=pytest.fail, progress=progress)
        next(actions)
        progress.cancel()
        with pytest.raises(SourceError, match="interrupted"):
            next(actions)
    assert progress.good_rows == 1


def test_a_cancel_after_the_last_row_counts(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("room_id\nroom\n")
    progress = LoadProgress()
    parser = RowParser(VolcengineClient.actions(), action="StopWebcast", constants={"app_id": "a", "task_id": "t"})
    actions = read_actions([str(tmp_path / "rows.csv")], parser, limit=None, on_bad_row=pytest.fail, progress=progress)
    assert next(actions)[1] == StopWebcast(app_id="a", room_id="room", task_id="t")
    progress.cancel()
    with pytest.raises(SourceError, match="interrupted"):
        next(actions)


def test_the_file_is_closed_if_the_clients_cannot_be_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls").write_bytes(b"task_id\n1\n2\n")
    file = (tmp_path / "calls").open("rb")
    monkeypatch.setattr("volc_moderation.bulk.load.open_source", lambda name: open_source("-", stdin=lambda: file))

    def no_keys(vendor: str, account: str | None) -> Clients:
        raise ConfigurationError("no keys")

    actions = read_actions(["calls"], PARSER, limit=None, on_bad_row=pytest.fail, progress=LoadProgress())
    with (
        contextlib.closing(Journal(tmp_path / "jobs")) as journal,
        pytest.raises(ConfigurationError, match="no keys"),
        journal.transaction(),
    ):
        load_actions(journal, actions, no_keys, skip_bad_rows=False, now=0, progress=LoadProgress())
    assert file.closed
