import contextlib
import json
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE, record
from volc_moderation import SourceError
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.journal import Journal
from volc_moderation.report import report
from volc_moderation.report.charts import Cell, Distribution, Rates, clock, duration, histogram, rate_chart, ticks
from volc_moderation.report.report import write_report

TOKEN = "token-of-a-user"
DENIED = "AccessDenied.NoPermissionForApp"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(tmp_path / "a <b> & c.db")) as journal:
        yield journal


def fill(journal: Journal, lane: Lane, records: list[dict[str, Any]], **parameters: str) -> None:
    """Write jobs into a journal, take them, and record what became of them; nothing of those that are empty."""
    ((before,),) = journal.query("SELECT count(*) FROM job")
    assert isinstance(before, int)
    with journal.transaction():
        number = journal.lane(lane)
        jobs = [(f"{number}-{row}", number, json.dumps(parameters), row + 2) for row in range(len(records))]
        journal.load(jobs, due=NOW, now=NOW)
        journal.take(number, sum(map(bool, records)), due=NOW, now=NOW)
        journal.record([record(before + row, lane=number, **known) for row, known in enumerate(records, 1) if known])


def written(journal: Journal, path: Path, *, now: float = NOW + 10) -> str:
    write_report(journal, path, now=now)
    return path.read_text(encoding="utf-8")


def words(page: str) -> str:
    """Return what a page says, without its markup."""
    return " ".join(re.sub("<[^>]*>", " ", page.partition("<main>")[2]).split())


def test_a_report_has_the_figures_of_the_run(journal: Journal, tmp_path: Path) -> None:
    gone = {"was_gone": True, "code": "InvalidParameter.ErrorActiveTaskNotFound"}
    refused = {"state": "failed", "code": DENIED, "message": "no", "request_id": "req-7"}
    given_up = {"state": "given up", "code": "InternalError", "attempts": 5}
    deferred = {"state": "pending", "due": NOW + 100, "code": "FailToConnect"}
    rows: list[dict[str, Any]] = [
        *[{"now": NOW + 1 + second} for second in range(4)],
        gone,
        refused,
        given_up,
        deferred,
        {},
    ]
    fill(journal, LANE, rows, AppId="app", RoomId="room-1")
    said = words(written(journal, tmp_path / "report.html"))
    assert "5 of 9 done" in said
    assert "Done 5 gone already: 1 Failed 1 Given up 1 Deferred 1 next one due" in said
    assert ", in 1 min 30 s Left 1 Duration 4 s" in said
    assert "Calls per second 2 answers: 8" in said
    assert "Most answers in one second: 4. Quota: 150 per second." in said
    assert "median 70 ms p95 70 ms p99 70 ms max 70 ms" in said
    assert f"1 11.1% failed {DENIED.replace('.', '. ')} the account may not operate this app StopWebcast no" in said
    failed = said.partition("Failed and given up Line")[2]
    assert f"7 failed {DENIED.replace('.', '. ')} no StopWebcast AppId=app RoomId=room-1 1 req-7" in failed
    assert "8 given up InternalError" in failed


def test_codes_of_zego_are_explained_by_the_action_that_met_them(journal: Journal, tmp_path: Path) -> None:
    fill(journal, Lane("zego", "account", "KickoutUser"), [{"state": "failed", "code": 3}])
    fill(journal, Lane("zego", "account", "NobodyKnows"), [{"state": "failed", "code": 3}], Secret=TOKEN)
    fill(journal, Lane("volcengine", "account", "StartDetection"), [{}, {"code": None}])
    page = written(journal, tmp_path / "report.html")
    assert page.count("a parameter is too long") == 1
    assert TOKEN not in page
    assert "Quota: 50 per second" in page
    assert "Quota: learned" in page
    assert "Round trips by action" in page


def test_what_a_vendor_says_is_text_and_tokens_do_not_show(journal: Journal, tmp_path: Path) -> None:
    lane = Lane("volcengine", "account", "LimitTokenPrivilege", "2023-11-01")
    hostile = {
        "state": "failed",
        "code": "<i>",
        "message": "<script>alert(1)</script>\u202e\x1b",
        "request_id": "'><img src=x>",
    }
    fill(journal, lane, [hostile], AppId="app", RoomId="<b>\ud800", Token=TOKEN)
    page = written(journal, tmp_path / "report.html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert r"alert(1)&lt;/script&gt;\u202e\x1b" in page
    assert r"RoomId=&lt;b&gt;\ud800 Token=***" in page
    assert TOKEN not in page
    found = tags(page)
    assert found.isdisjoint({"script", "img", "i", "b", "link", "iframe"})
    assert "&#x27;&gt;&lt;img src=x&gt;" in page
    assert not re.search(r"<[^>]*\s(?:src|href|style|on\w+)\s*=|url\(|@import", page)


def tags(page: str) -> set[str]:
    """Return the tags of a page, having seen that they are well nested and that its pictures are XML with titles."""
    seen: set[str] = set()
    still_open: list[str] = []

    class Nesting(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.add(tag)
            if tag != "meta":
                still_open.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.add(tag)

        def handle_endtag(self, tag: str) -> None:
            assert still_open.pop() == tag

    Nesting().feed(page)
    assert not still_open
    pictures = re.findall(r'<svg class="(?:chart|share)".*?</svg>(?=<(?!g|line|text))', page)
    assert pictures or "<svg" not in page
    for picture in pictures:
        assert ET.fromstring(picture)[0].tag == "title"  # noqa: S314 - it is our own
    return seen


def test_an_empty_journal_and_one_that_has_not_begun_have_a_report(journal: Journal, tmp_path: Path) -> None:
    page = written(journal, tmp_path / "report.html")
    tags(page)
    assert "No calls in this journal" in page
    assert "<h1>a &lt;b&gt; &amp; c.db</h1>" in page
    fill(journal, LANE, [{}, {}])
    with contextlib.closing(Journal(journal.path, read_only=True)) as reader:
        said = words(written(reader, tmp_path / "report.html"))
    assert "0 of 2 done" in said
    assert "Left 2" in said


def test_a_long_run_stays_a_small_page(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"state": "failed", "message": "m" * 5000}] * 150)
    with journal.transaction():
        journal._db.executemany(
            "INSERT INTO second VALUES (1, ?, 100, 90, 10)", ((int(NOW) + second,) for second in range(1, 20_000))
        )
    page = written(journal, tmp_path / "report.html")
    assert len(page) < 200_000
    assert "The first 100; there are 50 more." in page
    assert "the mean of 1 min 7 s each" in page
    assert "Calls per second</dt><dd>100" in page


def test_a_table_has_its_first_rows(journal: Journal, tmp_path: Path) -> None:
    """So that a page stays one that can be read: 20 slow calls, 100 kinds of outcome, 100 that failed."""
    fill(journal, LANE, [{"state": "failed", "code": f"Odd{number}"} for number in range(100)])
    page = written(journal, tmp_path / "report.html")
    assert "The first 100" not in page
    assert rows_of(page, "Failed and given up") == 100
    assert rows_of(page, "Slowest calls") == 20
    fill(journal, Lane("volcengine", "account", "StopDetection"), [{"state": "failed", "code": "One more"}])
    page = written(journal, tmp_path / "report.html")
    assert "The first 100; there are 1 more." in page
    assert rows_of(page, "Failed and given up") == rows_of(page, "Outcomes") == 100


def rows_of(page: str, table: str) -> int:
    return page.partition(f'aria-label="{table}"')[2].partition("</table>")[0].count("<tr>") - 1


def test_percentiles_are_told_by_name(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"round_trip": number / 1000, "waited": number / 100} for number in range(1, 101)])
    fill(journal, Lane("zego", "account", "KickoutUser"), [{"round_trip": None, "waited": None}])
    said = words(written(journal, tmp_path / "report.html"))
    assert "median 50 ms p95 95 ms p99 99 ms max 100 ms" in said
    assert "median 500 ms p95 950 ms p99 990 ms max 1 s" in said
    assert "the mean of" not in said  # each second has a bar of its own


def test_jobs_are_told_by_their_state(journal: Journal, tmp_path: Path) -> None:
    deferred = {"state": "pending", "due": NOW + 100, "code": "FailToConnect", "round_trip": 0.2}
    fill(journal, LANE, [deferred, {}], AppId="app")
    page = written(journal, tmp_path / "report.html")
    said = words(page)
    assert "1 50.0% deferred FailToConnect" in said
    assert "1 50.0% left StopWebcast" in said
    slowest = said.partition("Slowest calls Line")[2]
    assert "2 200 ms deferred FailToConnect" in slowest
    assert '<td class="number">200 ms</td>' in page


def test_accounts_of_one_action_have_names_of_their_own(journal: Journal, tmp_path: Path) -> None:
    for account in ("first-account", "second-account"):
        fill(journal, Lane("zego", account, "KickoutUser"), [{"round_trip": 0.1}])
    fill(journal, Lane("zego", "first-account", "CloseRoom"), [{"round_trip": 0.1}])
    said = words(written(journal, tmp_path / "report.html"))
    assert set(re.findall(r"(?:KickoutUser|CloseRoom)(?: \([^)]*\))?", said)) == {
        "KickoutUser (of account first-ac)",
        "KickoutUser (of account second-a)",
        "CloseRoom",
    }


def test_a_run_lasts_from_its_first_request_to_its_last_answer(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"now": NOW + 2.4}, {"now": NOW + 5.5}])
    assert "Duration 5.5 s" in words(written(journal, tmp_path / "report.html"))


def test_a_run_that_has_put_all_off_lasts_to_the_end_of_its_last_second(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"state": "pending", "now": NOW + 4.5, "due": NOW + 300}])
    assert "Duration 5 s" in words(written(journal, tmp_path / "report.html"))


def test_a_long_text_is_cut(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"state": "failed", "message": length * "m"} for length in (300, 301)])
    page = written(journal, tmp_path / "report.html")
    assert f'<td class="words">{300 * "m"}</td>' in page
    assert f'<td class="words">{300 * "m"}…</td>' in page


def test_a_report_that_cannot_be_finished_leaves_nothing(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "reports"
    folder.mkdir()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SourceError, match="No space left"):
        write_report(journal, folder / "report.html", now=NOW)
    assert not list(folder.iterdir())


def test_a_time_at_rest_is_no_part_of_the_rate(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"now": NOW}, {"now": NOW + 10}, {"now": NOW + 3610}])
    said = words(written(journal, tmp_path / "report.html"))
    assert "Duration 10 s and 1 h at rest" in said


def test_a_report_replaces_the_one_before_and_leaves_links_and_devices(journal: Journal, tmp_path: Path) -> None:
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old", encoding="utf-8")
    link.symlink_to(real)
    written(journal, link)
    assert link.is_symlink()
    assert "No calls" in real.read_text(encoding="utf-8")
    write_report(journal, Path("/dev/null"), now=NOW)
    assert Path("/dev/null").is_char_device()
    for path in (tmp_path, tmp_path / "missing" / "report.html"):
        with pytest.raises(SourceError, match="cannot be written: "):
            write_report(journal, path, now=NOW)
    assert not list(tmp_path.glob("*.part"))


def test_percentiles_and_bars_are_those_of_the_values(journal: Journal) -> None:
    dice = random.Random(7)
    values = sorted(dice.lognormvariate(-2.7, 0.8) for _ in range(4000))
    fill(journal, LANE, [{"round_trip": value} for value in values])
    found = report._distributions(journal, "round_trip")[1]
    assert found.total == 4000
    assert found.most == values[-1]
    for percent in (50, 95, 99):
        assert found.percentile(percent) == pytest.approx(values[40 * percent], rel=0.01)
    bars = found.bars([0.0, 0.02, 0.05, 0.1, 0.2, 10.0])
    assert sum(bars) == pytest.approx(4000)
    assert bars[2] == pytest.approx(sum(0.05 <= value < 0.1 for value in values), abs=2)
    hints = re.findall(r": ([\d,]+)</title>", histogram("h", found))
    assert sum(int(hint.replace(",", "")) for hint in hints) == pytest.approx(4000, abs=24)


@pytest.mark.parametrize("values", [[0.0], [1e-6], [0.07], [0.07, 0.07], [0.0, 300.0], [0.0] * 9 + [0.2], [3e-4, 9e4]])
def test_any_values_have_a_histogram(values: list[float]) -> None:
    chart = histogram("<h>", Distribution.of(Cell(value, value, 1) for value in values))
    assert ET.fromstring(chart)[0].text == "<h>"  # noqa: S314 - it is our own
    assert "nan" not in chart
    places = [float(place) for place in re.findall(r'[xy]="([-\d.]+)%"', chart)]
    assert places
    assert 0 <= min(places) <= max(places) <= 100
    assert 1 <= chart.count('class="x"') <= 9


def test_axes_and_times_are_round() -> None:
    assert ticks(150) == [0, 50, 100, 150]
    assert ticks(172.5) == [0, 50, 100, 150, 200]
    assert ticks(0) == [0, 1]
    spoken = [duration(seconds) for seconds in (0, 0.0714, 1.744, 59.99, 90, 3600, 7000, 90_000)]
    assert spoken == ["0 ms", "71.4 ms", "1.74 s", "60 s", "1 min 30 s", "1 h", "1 h 56 min", "1 d 1 h"]
    assert [clock(seconds) for seconds in (5, 65, 3605)] == ["0:05", "1:05", "1:00:05"]
    chart = rate_chart("r", [Rates(100, 20, 5), Rates(), Rates(150)], width=4 * 86_400, quota=150)
    assert "quota 150/s" in chart
    assert re.findall(r">(\d+ d)</text>", chart) == ["0 d", "2 d", "4 d", "6 d", "8 d", "10 d", "12 d"]
    assert 'class="quota"' not in rate_chart("r", [Rates(1)], width=1, quota=None)
