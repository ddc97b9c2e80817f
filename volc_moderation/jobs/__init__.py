"""Calls that must happen: journaled first, made at the quota's full speed, finished even after a crash."""

from volc_moderation.jobs.job import Job, JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.jobs import Jobs

__all__ = ["Job", "JobEvent", "JobState", "Jobs", "Lane"]
