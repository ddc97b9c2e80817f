"""Calls that must happen: journaled first, made at the quota's full speed, finished even after a crash."""

from typing import TYPE_CHECKING

from volc_moderation.jobs.job import Job, JobState, Lane
from volc_moderation.jobs.job_handle import JobHandle
from volc_moderation.lazy_imports import lazy_names

if TYPE_CHECKING:
    from volc_moderation.jobs.job_event import JobEvent
    from volc_moderation.jobs.jobs import Jobs
else:
    __getattr__, __dir__ = lazy_names(__name__, {"job_event": ["JobEvent"], "jobs": ["Jobs"]})

__all__ = ["Job", "JobEvent", "JobHandle", "JobState", "Jobs", "Lane"]
