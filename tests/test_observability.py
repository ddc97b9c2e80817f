"""The page about observability, the dashboard and the alert rules agree with what the package records."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from volc_moderation import errors
from volc_moderation.jobs import JobState
from volc_moderation.log_events import LogEvent
from volc_moderation.renewed_keys import NoKeysError
from volc_moderation.telemetry.instruments import ERROR_TYPE, SPANS, Kind, Metric

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "observability.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
ALERTS = [
    rule
    for group in yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def rows(start: str) -> Iterator[list[str]]:
    """Yield the cells of each table row whose first cell begins like this."""
    for line in PAGE.splitlines():
        if line.startswith(f"| `{start}"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def names_in(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def test_each_event_is_documented_with_its_level_and_fields() -> None:
    table = PAGE.partition("| event | level | fields |")[2]
    documented = {
        names_in(cells[0])[0]: (cells[1], names_in(cells[2]))
        for line in table.splitlines()
        if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 4
    }
    events = {event.event: (logging.getLevelName(event.level), event.fields) for event in LogEvent}
    assert documented == events
    assert [*documented] == [*events]


def test_each_metric_is_documented_with_its_unit_and_attributes() -> None:
    documented: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    attributes: tuple[str, ...] = ()
    for cells in rows("volc_moderation."):
        if len(cells) != 4:
            continue
        kind, unit = cells[1].split(", ")
        attributes = names_in(cells[2].replace(" (after a failure)", "")) or attributes  # or "the same"
        documented[names_in(cells[0])[0]] = kind, unit.strip("`"), attributes
    metrics = {metric.metric: (metric.kind.value, metric.unit, metric.attributes) for metric in Metric}
    assert documented == metrics


def test_each_span_is_documented_with_its_attributes() -> None:
    documented = {names_in(cells[0])[0]: {*names_in(cells[2])} for cells in (*rows("{"), *rows("job {"))}
    assert documented == {name: {*attributes} for name, attributes in SPANS.items()}


def prometheus_name(metric: Metric) -> str:
    """Return the name that exporters for Prometheus give a metric.

    https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
    """
    unit = {"s": "_seconds"}.get(metric.unit, "")
    return metric.metric.replace(".", "_") + unit + ("_total" if metric.kind is Kind.COUNTER else "")


LABELS = {prometheus_name(metric): {name.replace(".", "_") for name in metric.attributes} for metric in Metric}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m").replace("$vendor", ".*")


EXPRESSIONS = list(expressions())


def selectors(expression: Any) -> Iterator[Any]:
    """Yield the selectors of metrics in a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        part = getattr(expression, name, None)
        if part is not None:
            yield from selectors(part)
    for part in getattr(expression, "args", None) or ():
        yield from selectors(part)


def aggregations(expression: Any) -> Iterator[Any]:
    """Yield the parts of a parsed expression that are grouped by labels."""
    if isinstance(expression, promql_parser.AggregateExpr) and expression.modifier is not None:
        yield expression
    for name in ("expr", "lhs", "rhs"):
        if getattr(expression, name, None) is not None:
            yield from aggregations(getattr(expression, name))


def groupings(text: str) -> set[str]:
    return {name.strip() for names in re.findall(r"\bby \(([^)]*)\)", text) for name in names.split(",")}


@pytest.mark.parametrize(("title", "text"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_dashboard_and_alerts_use_only_what_exists(title: str, text: str) -> None:
    parsed = promql_parser.parse(text)
    found = list(selectors(parsed))
    assert found
    for aggregation in aggregations(parsed):
        for selector in selectors(aggregation):
            assert {*aggregation.modifier.labels} <= LABELS[selector.name]
    for selector in found:
        assert {matcher.name for matcher in selector.matchers.matchers} <= LABELS[selector.name]


def test_the_dashboard_shows_every_metric() -> None:
    assert {name for name in LABELS if any(name in text for _, text in EXPRESSIONS)} == {*LABELS}


def test_legends_show_labels_that_the_expression_keeps() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            assert {*re.findall(r"{{(\w+)}}", target["legendFormat"])} <= groupings(target["expr"])


def combinations(expression: Any) -> Iterator[Any]:
    """Yield the operations on two vectors in a parsed expression."""
    if isinstance(expression, promql_parser.BinaryExpr) and all(
        list(selectors(side)) for side in (expression.lhs, expression.rhs)
    ):
        yield expression
    for name in ("expr", "lhs", "rhs"):
        if getattr(expression, name, None) is not None:
            yield from combinations(getattr(expression, name))


def fixed_labels(expression: Any) -> set[tuple[str, str]]:
    """Return the labels with one value each that the result of an expression keeps."""
    if isinstance(expression, promql_parser.AggregateExpr):
        return set()
    if isinstance(expression, promql_parser.BinaryExpr):
        return fixed_labels(expression.lhs) | fixed_labels(expression.rhs)
    return {(matcher.name, matcher.value) for found in selectors(expression) for matcher in found.matchers.matchers}


@pytest.mark.parametrize(("title", "text"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_two_sides_of_an_operation_can_match(title: str, text: str) -> None:
    """Sides that keep different values of a label never match: an ``unless`` then excludes nothing."""
    for combination in combinations(promql_parser.parse(text)):
        if combination.modifier is None or combination.modifier.matching is None:
            assert fixed_labels(combination.lhs) == fixed_labels(combination.rhs)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert re.fullmatch(r"[1-9]\d*m", rule["for"])
    annotations = rule["annotations"]
    assert annotations["summary"]
    assert annotations["description"].endswith(".")
    page, _, anchor = annotations["runbook"].partition("#")
    assert page == "docs/observability.md"
    assert re.search(rf"^### {anchor.capitalize()}$", PAGE, re.MULTILINE)
    for label in re.findall(r"\$labels\.(\w+)", annotations["summary"]):
        assert label in groupings(rule["expr"])


def test_values_of_labels_are_those_that_the_package_uses() -> None:
    classes = {*vars(errors), NoKeysError.__name__, "CancelledError", ""}
    known = {
        ERROR_TYPE.replace(".", "_"): classes,
        "volc_moderation_job_state": {state.value for state in JobState},
        "volc_moderation_outcome": {"handled", "repeated", "running", "rejected", "failed", "late", "renewed"},
    }
    checked = 0
    for _, text in EXPRESSIONS:
        for selector in selectors(promql_parser.parse(text)):
            for matcher in selector.matchers.matchers:
                if matcher.name in known:
                    checked += 1
                    assert {*matcher.value.split("|")} <= known[matcher.name]
    assert checked > 5
