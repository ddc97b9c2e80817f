"""The report of a journal: its figures, tables and charts, and how it is written."""

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
from volc_moderation import SourceError, report
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.journal import Journal
from volc_moderation.report import write_report
from volc_moderation.report.charts import Rates, histogram, rate_chart, ticks
from volc_moderation.report.distribution import Cell, Distribution
from volc_moderation.report.figures import distributions
from volc_moderation.report.tables import shown_state
from volc_moderation.report.units import clock, duration

TOKEN = "token-of-a-user"
DENIED = "AccessDenied.NoPermissionForApp"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(tmp_path / "a <b> & c.db")) as journal:
        yield journal


def fill(journal: Journal, lane: Lane, records: list[dict[str, Any]], **parameters: str) -> None:
    """Add a job per record, take those whose record is not empty, and record their outcomes."""
    before = sum(journal.counts().values())
    with journal.transaction():
        number = journal.lane_id(lane)
        jobs = [(f"{number}-{row}", number, json.dumps(parameters), row + 2) for row in range(len(records))]
        journal.load(jobs, due=NOW, now=NOW)
        journal.take(number, sum(map(bool, records)), due=NOW, now=NOW)
        journal.record([record(before + row, lane_id=number, **known) for row, known in enumerate(records, 1) if known])


def report_of(journal: Journal, path: Path, *, now: float = NOW + 10) -> str:
    write_report(journal, path, now=now)
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """Return the text of a page without its markup."""
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
    text = text_of(report_of(journal, tmp_path / "report.html"))
    assert "5 of 9 done" in text
    assert "Done 5 gone already: 1 Failed 1 Given up 1 Deferred 1 next one due" in text
    assert ", in 1 min 30 s Left 1 Duration 4 s" in text
    assert "Calls per second 2 answers: 8" in text
    assert "Most answers in one second: 4. Quota: 150 per second." in text
    assert "median 70 ms p95 70 ms p99 70 ms max 70 ms" in text
    assert f"1 11.1% failed {DENIED.replace('.', '. ')} the account may not operate this app StopWebcast no" in text
    failed = text.partition("Failed and given up Line")[2]
    assert f"7 failed {DENIED.replace('.', '. ')} no StopWebcast AppId=app RoomId=room-1 1 req-7" in failed
    assert "8 given up InternalError" in failed


def test_codes_are_explained_for_the_action_that_received_them(journal: Journal, tmp_path: Path) -> None:
    fill(journal, Lane("zego", "account", "KickoutUser"), [{"state": "failed", "code": 3}])
    fill(journal, Lane("zego", "account", "NobodyKnows"), [{"state": "failed", "code": 3}], Secret=TOKEN)
    fill(journal, Lane("volcengine", "account", "StartDetection"), [{}, {"code": None}])
    page = report_of(journal, tmp_path / "report.html")
    assert page.count("a parameter is too long") == 1
    assert TOKEN not in page
    assert "Quota: 50 per second" in page
    assert "Quota: learned" in page
    assert "Round trips by action" in page


def test_messages_of_vendors_are_escaped_and_tokens_are_hidden(journal: Journal, tmp_path: Path) -> None:
    lane = Lane("volcengine", "account", "LimitTokenPrivilege", "2023-11-01")
    hostile = {
        "state": "failed",
        "code": "<i>",
        "message": "<script>alert(1)</script>\u202e\x1b",
        "request_id": "'><img src=x>",
    }
    fill(journal, lane, [hostile], AppId="app", RoomId="<b>\ud800", Token=TOKEN)
    page = report_of(journal, tmp_path / "report.html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert r"alert(1)&lt;/script&gt;\u202e\x1b" in page
    assert r"RoomId=&lt;b&gt;\ud800 Token=***" in page
    assert TOKEN not in page
    found = tags(page)
    assert found.isdisjoint({"script", "img", "i", "b", "link", "iframe"})
    assert "&#x27;&gt;&lt;img src=x&gt;" in page
    assert not re.search(r"<[^>]*\s(?:src|href|style|on\w+)\s*=|url\(|@import", page)


def tags(page: str) -> set[str]:
    """Return the tags of a page. Check that they are well nested and that its charts are XML with titles."""
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
    charts = re.findall(r'<svg class="(?:chart|share)".*?</svg>(?=<(?!g|line|text))', page)
    assert charts or "<svg" not in page
    for chart in charts:
        assert ET.fromstring(chart)[0].tag == "title"  # noqa: S314 - our own
    return seen


def test_a_journal_that_is_empty_or_has_not_begun_has_a_report(journal: Journal, tmp_path: Path) -> None:
    page = report_of(journal, tmp_path / "report.html")
    tags(page)
    assert "No calls in this journal" in page
    assert "<h1>a &lt;b&gt; &amp; c.db</h1>" in page
    fill(journal, LANE, [{}, {}])
    with contextlib.closing(Journal(journal.path, access="read")) as reader:
        text = text_of(report_of(reader, tmp_path / "report.html"))
    assert "0 of 2 done" in text
    assert "Left 2" in text


def test_the_page_of_a_long_run_is_small(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"state": "failed", "message": "m" * 5000}] * 150)
    with journal.transaction():
        journal._db.executemany(
            "INSERT INTO second VALUES (1, ?, 100, 90, 10)", ((int(NOW) + second,) for second in range(1, 20_000))
        )
    page = report_of(journal, tmp_path / "report.html")
    assert len(page) < 200_000
    assert "The first 100; there are 50 more." in page
    assert "each bar is the mean of 1 min 7 s" in page
    assert "Calls per second</dt><dd>100" in page


def test_tables_are_cut(journal: Journal, tmp_path: Path) -> None:
    """At 20 slow jobs, 100 outcomes and 100 failed jobs, so that the page stays readable."""
    fill(journal, LANE, [{"state": "failed", "code": f"Odd{number}"} for number in range(100)])
    page = report_of(journal, tmp_path / "report.html")
    assert "The first 100" not in page
    assert rows_of(page, "Failed and given up") == 100
    assert rows_of(page, "Slowest calls") == 20
    fill(journal, Lane("volcengine", "account", "StopDetection"), [{"state": "failed", "code": "One more"}])
    page = report_of(journal, tmp_path / "report.html")
    assert "The first 100; there are 1 more." in page
    assert rows_of(page, "Failed and given up") == rows_of(page, "Outcomes") == 100


def test_the_page_does_not_scroll_sideways_on_a_phone(journal: Journal, tmp_path: Path) -> None:
    """Tables and charts scroll in their own boxes, which the keyboard reaches. All other text wraps anywhere."""
    for account in ("first", "second"):
        fill(journal, Lane("zego", account, "KickoutUser"), [{}, {"state": "failed", "code": 3}], RoomId=128 * "r")
    page = report_of(journal, tmp_path / "report.html")
    boxes = re.findall(r'<div class="scroll" role="region" aria-label="[^"]+" tabindex="0">(.*?)</div>', page)
    for wide in ("<table>", '<svg class="chart"'):
        assert page.count(wide) == sum(box.count(wide) for box in boxes) > 2
    css = page.partition("<style>")[2].partition("</style>")[0]
    assert re.search(r"^\.scroll {[^}]*overflow-x: auto", css, re.MULTILINE)
    assert re.search(r"^body {[^}]*overflow-wrap: anywhere", css, re.MULTILINE)
    # Otherwise an item of a grid is as wide as its content, even if the content could scroll or wrap.
    assert re.search(r"^\* {[^}]*min-width: 0", css, re.MULTILINE)


def rows_of(page: str, table: str) -> int:
    return page.partition(f'aria-label="{table}"')[2].partition("</table>")[0].count("<tr>") - 1


def test_percentiles_have_names(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"round_trip": number / 1000, "waited": number / 100} for number in range(1, 101)])
    fill(journal, Lane("zego", "account", "KickoutUser"), [{"round_trip": None, "waited": None}])
    text = text_of(report_of(journal, tmp_path / "report.html"))
    assert "median 50 ms p95 95 ms p99 99 ms max 100 ms" in text
    assert "median 500 ms p95 950 ms p99 990 ms max 1 s" in text
    assert "the mean of" not in text  # each bar is one second


def test_tables_show_the_state_of_jobs(journal: Journal, tmp_path: Path) -> None:
    deferred = {"state": "pending", "due": NOW + 100, "code": "FailToConnect", "round_trip": 0.2}
    fill(journal, LANE, [deferred, {}], AppId="app")
    page = report_of(journal, tmp_path / "report.html")
    text = text_of(page)
    assert "1 50.0% deferred FailToConnect" in text
    assert "1 50.0% left StopWebcast" in text
    slowest = text.partition("Slowest calls Line")[2]
    assert "2 200 ms deferred FailToConnect" in slowest
    assert '<td class="number">200 ms</td>' in page


def test_lanes_of_one_action_are_distinguished_by_account(journal: Journal, tmp_path: Path) -> None:
    for account in ("first-account", "second-account"):
        fill(journal, Lane("zego", account, "KickoutUser"), [{"round_trip": 0.1}])
    fill(journal, Lane("zego", "first-account", "CloseRoom"), [{"round_trip": 0.1}])
    text = text_of(report_of(journal, tmp_path / "report.html"))
    assert set(re.findall(r"(?:KickoutUser|CloseRoom)(?: \([^)]*\))?", text)) == {
        "KickoutUser (of account first-ac)",
        "KickoutUser (of account second-a)",
        "CloseRoom",
    }


def test_a_run_lasts_from_its_first_request_to_its_last_answer(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"now": NOW + 2.4}, {"now": NOW + 5.5}])
    assert "Duration 5.5 s" in text_of(report_of(journal, tmp_path / "report.html"))


def test_a_run_without_an_ended_job_lasts_to_the_end_of_its_last_second(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"state": "pending", "now": NOW + 4.5, "due": NOW + 300}])
    assert "Duration 5 s" in text_of(report_of(journal, tmp_path / "report.html"))


def test_a_long_text_is_cut(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"state": "failed", "message": length * "m"} for length in (300, 301)])
    page = report_of(journal, tmp_path / "report.html")
    assert f'<td class="words">{300 * "m"}</td>' in page
    assert f'<td class="words">{300 * "m"}…</td>' in page


def test_a_report_that_cannot_be_written_leaves_no_file(
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


def test_idle_time_is_no_part_of_the_duration(journal: Journal, tmp_path: Path) -> None:
    fill(journal, LANE, [{"now": NOW}, {"now": NOW + 10}, {"now": NOW + 3610}])
    text = text_of(report_of(journal, tmp_path / "report.html"))
    assert "Duration 10 s plus 1 h idle" in text


def test_a_report_replaces_a_file_and_writes_through_links_and_to_devices(journal: Journal, tmp_path: Path) -> None:
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old", encoding="utf-8")
    link.symlink_to(real)
    report_of(journal, link)
    assert link.is_symlink()
    assert "No calls" in real.read_text(encoding="utf-8")
    write_report(journal, Path("/dev/null"), now=NOW)
    assert Path("/dev/null").is_char_device()
    for path in (tmp_path, tmp_path / "missing" / "report.html"):
        with pytest.raises(SourceError, match="cannot be written: "):
            write_report(journal, path, now=NOW)
    assert not list(tmp_path.glob("*.part"))


def test_percentiles_and_bars_match_the_values(journal: Journal) -> None:
    dice = random.Random(7)
    values = sorted(dice.lognormvariate(-2.7, 0.8) for _ in range(4000))
    fill(journal, LANE, [{"round_trip": value} for value in values])
    distribution = distributions(journal, "round_trip")[1]
    assert distribution.total == 4000
    assert distribution.max == values[-1]
    for percent in (50, 95, 99):
        assert distribution.percentile(percent) == pytest.approx(values[40 * percent], rel=0.01)
    bars = distribution.histogram([0.0, 0.02, 0.05, 0.1, 0.2, 10.0])
    assert sum(bars) == pytest.approx(4000)
    assert bars[2] == pytest.approx(sum(0.05 <= value < 0.1 for value in values), abs=2)
    hints = re.findall(r": ([\d,]+)</title>", histogram("h", distribution))
    assert sum(int(hint.replace(",", "")) for hint in hints) == pytest.approx(4000, abs=24)


@pytest.mark.parametrize("values", [[0.0], [1e-6], [0.07], [0.07, 0.07], [0.0, 300.0], [0.0] * 9 + [0.2], [3e-4, 9e4]])
def test_any_values_have_a_histogram(values: list[float]) -> None:
    chart = histogram("<h>", Distribution.of(Cell(value, value, 1) for value in values))
    assert ET.fromstring(chart)[0].text == "<h>"  # noqa: S314 - our own
    assert "nan" not in chart
    positions = [float(position) for position in re.findall(r'[xy]="([-\d.]+)%"', chart)]
    assert positions
    assert 0 <= min(positions) <= max(positions) <= 100
    assert 1 <= chart.count('class="x"') <= 9


def test_axes_and_times_are_round() -> None:
    assert ticks(150) == [0, 50, 100, 150]
    assert ticks(172.5) == [0, 50, 100, 150, 200]
    assert ticks(0) == [0, 1]
    durations = [duration(seconds) for seconds in (0, 0.0714, 1.744, 59.99, 90, 3600, 7000, 90_000)]
    assert durations == ["0 ms", "71.4 ms", "1.74 s", "60 s", "1 min 30 s", "1 h", "1 h 56 min", "1 d 1 h"]
    assert [clock(seconds) for seconds in (5, 65, 3605)] == ["0:05", "1:05", "1:00:05"]
    chart = rate_chart("r", [Rates(100, 20, 5), Rates(), Rates(150)], width=4 * 86_400, quota=150)
    assert "quota 150/s" in chart
    assert re.findall(r">(\d+ d)</text>", chart) == ["0 d", "2 d", "4 d", "6 d", "8 d", "10 d", "12 d"]
    assert 'class="quota"' not in rate_chart("r", [Rates(1)], width=1, quota=None)


@pytest.mark.parametrize(
    ("state", "was_gone", "was_tried", "shown"),
    [
        (JobState.DONE, False, True, "done"),
        (JobState.DONE, True, True, "gone"),
        (JobState.FAILED, False, True, "failed"),
        (JobState.GIVEN_UP, False, True, "given up"),
        (JobState.PENDING, False, True, "deferred"),
        (JobState.PENDING, False, False, "left"),
        (JobState.SENT, False, True, "in flight"),
    ],
)
def test_every_state_has_a_word_and_a_colour(state: JobState, was_gone: bool, was_tried: bool, shown: str) -> None:
    assert shown_state(state, was_gone=was_gone, was_tried=was_tried) == shown
    css = Path(report.__file__).with_name("report.html").read_text(encoding="utf-8")
    assert re.search(rf"\.{shown.replace(' ', '-')}\b[^{{]*{{ --c: var", css)
