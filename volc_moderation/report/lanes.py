"""The lanes of a journal as a report shows them."""

from collections import Counter

import attrs

from volc_moderation.action import Action
from volc_moderation.jobs.job import Lane, StoredJob
from volc_moderation.jobs.job_event import redacted_parameters
from volc_moderation.jobs.journal import Journal
from volc_moderation.printable import printable, printable_json
from volc_moderation.vendors import VENDORS, find_action


@attrs.frozen
class ReportedLane:
    """A lane with what is known of its action."""

    lane: Lane
    #: The action, and what distinguishes the lane from others of the same action.
    name: str
    #: None if this version does not know the action.
    action_type: type[Action[object]] | None

    @property
    def quota(self) -> float | None:
        """The documented quota in calls per second; None if there is none."""
        if self.action_type is None or not self.action_type.quota.published:
            return None
        return self.action_type.quota.limit / self.action_type.quota.window

    def advice(self, code: str | int | None) -> str:
        """Return what the vendor's documents say about a code; empty if they say nothing."""
        vendor = VENDORS.get(self.lane.vendor)
        return "" if code is None or vendor is None else vendor.advice(self.action_type, code) or ""

    def parameters(self, job: StoredJob) -> str:
        """Return the parameters of a job without the tokens of users; empty if it is unknown which those are."""
        if self.action_type is None:
            return ""
        pairs = redacted_parameters(self.action_type, job.parameters).items()
        return " ".join(f"{name}={value if isinstance(value, str) else printable_json(value)}" for name, value in pairs)


def reported_lanes(journal: Journal) -> dict[int, ReportedLane]:
    """Return the lanes of a journal by their ids, each with a name of its own."""
    lanes = journal.lanes()
    lanes_per_action = Counter(lane.action for lane in lanes.values())
    reported = {}
    for lane_id, lane in lanes.items():
        details = " ".join(part for part in (lane.version, "of account", lane.account[:8]) if part)
        name = f"{lane.action} ({details})" if lanes_per_action[lane.action] > 1 else lane.action
        reported[lane_id] = ReportedLane(lane, printable(name), find_action(lane.vendor, lane.action))
    return reported
