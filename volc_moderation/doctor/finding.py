"""What a check has found. Pure."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

#: A value of ``Finding.facts``, as JSON has it.
Fact: TypeAlias = "str | int | float | bool | Sequence[Fact] | Mapping[str, Fact] | None"


class Status(enum.StrEnum):
    """How a check ended. Programs rely on the values."""

    OK = "ok"
    #: It works, and may not under load or for long.
    WARNING = "warning"
    #: It does not work, or loses data.
    FAILED = "failed"
    #: It was not checked, because it does not apply here or cannot be known.
    SKIPPED = "skipped"


@attrs.frozen
class Finding:
    """What a check has found.

    :param subject: what was checked: ``package``, ``quotas``, ``redis``, ``journal``, ``webhook``, or the name of an
        account with ``account:`` before it.
    :param check: the name of the check, such as ``clock``. Subject and check together are unique.
    :param detail: the result in one line, without a secret.
    :param next_step: what to do, as a sentence; empty unless the status is a warning or a failure.
    :param facts: the result for programs. The names of a check's facts do not change.
    """

    subject: str
    check: str
    status: Status
    detail: str
    next_step: str = ""
    facts: Mapping[str, Fact] = attrs.field(factory=dict)


class Subject:
    """Makes the findings about one subject.

    :param name: of the subject.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def ok(self, check: str, detail: str, **facts: Fact) -> Finding:
        """Return the finding that something works."""
        return Finding(self.name, check, Status.OK, detail, facts=facts)

    def warning(self, check: str, detail: str, next_step: str, **facts: Fact) -> Finding:
        """Return the finding that something may not work under load or for long."""
        return Finding(self.name, check, Status.WARNING, detail, next_step, facts)

    def failed(self, check: str, detail: str, next_step: str, **facts: Fact) -> Finding:
        """Return the finding that something does not work."""
        return Finding(self.name, check, Status.FAILED, detail, next_step, facts)

    def skipped(self, check: str, detail: str, **facts: Fact) -> Finding:
        """Return the finding that something was not checked."""
        return Finding(self.name, check, Status.SKIPPED, detail, facts=facts)


def overall(findings: Iterable[Finding]) -> Status:
    """Return the worst status of all findings: a failure, else a warning, else ok."""
    found = {finding.status for finding in findings}
    return next((status for status in (Status.FAILED, Status.WARNING) if status in found), Status.OK)


def report(findings: Sequence[Finding], *, version: str, seconds: float) -> dict[str, object]:
    """Return the findings as one JSON object."""
    return {
        "status": overall(findings).value,
        "version": version,
        "seconds": round(seconds, 3),
        "checks": [attrs.asdict(finding) | {"status": finding.status.value} for finding in findings],
    }
