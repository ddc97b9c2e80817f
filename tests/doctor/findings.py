"""What the tests of the checks look at."""

from collections.abc import Iterable

from volc_moderation.doctor.finding import Finding, Status, Subject

SUBJECT = Subject("subject")


def find(findings: Iterable[Finding], check: str) -> Finding:
    """Return the finding of a check."""
    (finding,) = (one for one in findings if one.check == check)
    return finding


def statuses(findings: Iterable[Finding]) -> dict[str, str]:
    """Return the status of each check. Each warning and failure says what to do, and nothing else does."""
    found = {}
    for finding in findings:
        assert finding.check not in found
        assert bool(finding.next_step) == (finding.status in {Status.WARNING, Status.FAILED}), finding
        assert finding.detail
        found[finding.check] = finding.status.value
    return found
