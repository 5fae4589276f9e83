"""What the routes of sources and jobs answer."""

from typing import Any, Literal, NotRequired

from chatbot.answers import Count, Id, Resource, Shape, Time


class SourceHealth(Shape):
    """How fresh a source is. All that was written there before `last_complete_run` is known;
    `lag_seconds` is the time since. `pending` and `failed` count documents."""

    last_complete_run: Time | None
    lag_seconds: Count | None
    pending: Count
    failed: Count


class Source(Resource):
    """A place that a workspace draws knowledge from. Its credentials are never answered, its
    `health` only where it is read alone."""

    provider: Literal["slack", "gitlab", "backlog"]
    name: str
    config: dict[str, Any]
    schedule: str
    is_enabled: bool
    status: Literal["idle", "running", "failed"]
    last_synced_at: Time | None
    last_error: str | None
    health: NotRequired[SourceHealth]


class JobCounts(Shape):
    """Documents that a run has met."""

    fetched: Count
    changed: Count
    unchanged: Count
    deleted: Count
    failed: Count


class Job(Resource):
    """A run of a source."""

    source_id: Id
    trigger: Literal["schedule", "manual"]
    status: Literal["running", "succeeded", "partial", "failed"]
    started_at: Time
    finished_at: Time | None
    counts: JobCounts
    error: str | None


class Started(Shape):
    """The job of the run that was started."""

    job_id: Id


class Replayed(Shape):
    """How many documents were queued again, and whether some are left."""

    replayed: Count
    has_more: bool


ANSWERS: dict[str, Any] = {
    "index": Source,
    "create": Source,
    "read": Source,
    "update": Source,
    "sync": Started,
    "replay": Replayed,
    "list_jobs": Job,
    "read_job": Job,
}
