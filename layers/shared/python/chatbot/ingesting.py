"""How a source is read, whatever its provider: tasks one after the other, and a checkpoint.

A provider says how to connect, which tasks a run begins with, and what each task does. A task is
JSON, `[name, external id or None, ...arguments]`: one with an external id reads that document and
fails alone; one without lists, and returns the tasks that take its place. What is still to be done
is the checkpoint, so a run that is killed or told to wait goes on where it was, within a long
document too, and doing a task again changes nothing.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chatbot import documents, log, parts, sources, sweeping, tables
from chatbot.aws import client as aws_client
from chatbot.errors import BadInput, Gone, RetryLater
from chatbot.fetching import Client, RateLimited, Refused, TooLarge
from chatbot.identifiers import since_ms
from chatbot.settings import settings

# After this long, and this close to the process's end, no task is begun.
WORK_SECONDS = 120
RESERVE_SECONDS = 60
# Documents that fail are tried again by the next run; where there are more, it reads all again.
MAX_FAILED = 500
# So many documents one after the other that are not to be had: it is the provider that fails.
MAX_IN_A_ROW = 20
# So often a listing is tried before the run does without it.
MAX_SETBACKS = 4
MAX_TITLE = 300
# What an item of another form than documented raises, when it is read.
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError)
COUNTS = ("fetched", "changed", "unchanged", "deleted", "failed")

type Task = list[Any]


@dataclass
class Checkpoint:
    """Where the reading of a source is; one row beside its jobs.

    A listing is under way as long as there are tasks. It may outlive the job that began it, whose
    id it bears.
    """

    job_id: str = ""
    listing: str = ""
    is_full: bool = True
    config: str = ""
    tasks: list[Task] = field(default_factory=list)
    failed: list[Task] = field(default_factory=list)
    marks: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    pages: int = 0
    setbacks: int = 0
    error: str | None = None

    def begin_job(self, job_id: str) -> None:
        """Count from zero."""
        self.job_id = job_id
        self.counts = dict.fromkeys(COUNTS, 0)
        self.pages = 0

    def begin_listing(self, config: str, *, is_full: bool, keeps_marks: bool) -> None:
        """Forget what was left to do, but for what failed, which a full listing meets anyway."""
        self.tasks = [] if is_full else self.failed
        self.failed, self.memory, self.progress, self.setbacks = [], {}, {}, 0
        self.listing, self.is_full, self.config, self.error = self.job_id, is_full, config, None
        if not keeps_marks:
            self.marks = {}


class Run:
    """What the tasks of a provider work with.

    `items` holds what a listing brought along, as long as this process lives.
    """

    def __init__(
        self,
        workspace_id: str,
        source_id: str,
        config: Mapping[str, Any],
        client: Client,
        checkpoint: Checkpoint,
        has_time: Callable[[], bool],
        max_deleted_percent: int,
    ) -> None:
        self.workspace_id = workspace_id
        self.source_id = source_id
        self.config = config
        self.client = client
        self.items: dict[str, Any] = {}
        self.has_time = has_time
        self.max_deleted_percent = max_deleted_percent
        self._checkpoint = checkpoint

    @property
    def memory(self) -> dict[str, Any]:
        """What the provider has looked up during this listing; in all of little size."""
        return self._checkpoint.memory

    @property
    def marks(self) -> dict[str, Any]:
        """What the provider remembers from run to run: up to where a feed was read."""
        return self._checkpoint.marks

    @property
    def is_full(self) -> bool:
        """Whether everything is listed, so that what is not seen is gone."""
        return self._checkpoint.is_full

    @property
    def listing(self) -> str:
        """The id that marks the documents which are seen."""
        return self._checkpoint.listing

    def gather[Cursor](
        self, read: Callable[[Cursor | None], tuple[list[Any], Cursor | None]]
    ) -> list[Any]:
        """All items of a document that comes in pages; once for each document.

        `read` takes a cursor, None at first, and gives a page and the next cursor, None at the end.
        What was read is kept, so that a wait, a kill or the end of the time costs one page at most.
        """
        job = self._checkpoint
        while True:
            items, cursor = read(job.progress.get("cursor"))
            page = job.progress.get("pages", 0)
            if cursor is None:
                return [*parts.get(self.source_id, page), *items]
            parts.put(self.source_id, page, items)
            job.progress = {"cursor": cursor, "pages": page + 1}
            job.pages += 1
            save(self.source_id, job)
            if not self.has_time():
                raise RateLimited(0)

    def keep(
        self, external_id: str, title: str, url: str, text: str, updated_at: str | None
    ) -> None:
        """Write a document, if its content is new. `updated_at` is the provider's, RFC 3339."""
        outcome = documents.put(
            workspace_id=self.workspace_id,
            source_id=self.source_id,
            external_id=external_id,
            title=" ".join(title.split())[:MAX_TITLE] or external_id,
            url=url,
            text=text,
            source_updated_at=updated_at,
            run_id=self.listing,
        )
        self.fetched(outcome)
        # A full listing also brings what is years old.
        if outcome == "changed" and updated_at and not self.is_full:
            with suppress(ValueError, TypeError):  # a time that only the provider understands
                log.measure(IngestionLag=since_ms(updated_at))

    def fetched(self, outcome: str) -> None:
        """Count a document that was fetched, and what came of it."""
        self._checkpoint.counts["fetched"] += 1
        self._checkpoint.counts[outcome] += 1

    def drop(self, external_id: str) -> None:
        """Remove a document that the provider says is gone; nothing happens without one."""
        row = documents.find(documents.document_id(self.source_id, external_id))
        if row is not None:
            documents.remove(row["document_id"])
            self._checkpoint.counts["deleted"] += 1

    def is_seen(self, external_id: str) -> bool:
        """Whether this listing has already read the document."""
        row = documents.find(documents.document_id(self.source_id, external_id))
        return row is not None and row.get("seen_run") == self.listing

    def sweep(self, after: str, before: str) -> None:
        """Remove the documents between two external ids that were listed and not seen.

        A full listing ends with a sweep of the whole source instead.
        """
        if self.is_full:
            return
        swept = sweeping.sweep(
            self.source_id,
            self.listing,
            after,
            before,
            max_percent=self.max_deleted_percent,
        )
        self._checkpoint.counts["deleted"] += swept.deleted
        if swept.refusal:
            self.incomplete(swept.refusal)

    def incomplete(self, reason: str) -> None:
        """Note that something could not be listed: the run ends as `partial`, with this error."""
        self._checkpoint.error = self._checkpoint.error or self.client.redact(reason)


@dataclass(frozen=True)
class Provider:
    """`connect(config, credentials, remaining)` makes the client. `start(run)` gives the first
    tasks of a listing. `tasks` names what a task does: `function(run, *arguments)`.
    """

    connect: Callable[[Mapping[str, Any], Mapping[str, str], Callable[[], float]], Client]
    start: Callable[[Run], list[Task]]
    tasks: Mapping[str, Callable[..., list[Task] | None]]


def _key(source_id: str) -> dict[str, str]:
    return {"source_id": source_id, "job_id": "CHECKPOINT"}


def load(source_id: str) -> Checkpoint:
    """The checkpoint of a source, a new one if there is none, or only one of another release."""
    row = tables.get(settings().jobs_table, _key(source_id))
    try:
        return Checkpoint(**parts.unsqueeze(row["checkpoint"])) if row else Checkpoint()
    except (ValueError, TypeError):
        return Checkpoint()


def save(source_id: str, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a source; its tasks hold ids only, so it stays small."""
    item = {**_key(source_id), "checkpoint": parts.squeeze(vars(checkpoint))}
    aws_client("dynamodb").put_item(TableName=settings().jobs_table, Item=tables.pack(item))


def ingest(event: Mapping[str, Any], context: Any, provider: Provider) -> dict[str, Any]:
    """Read on for a bounded time.

    Takes {workspace_id, source_id, job_id, trigger, config, sweep, phase?, max_deleted_percent?}.
    Returns {cursor, has_more, retry_after_seconds, counts, pages, listing_complete, sweep_due,
    error}, the counts and pages of the whole job so far. In the phase `sweep` it removes what a
    complete listing has not seen. Raises `RetryLater`, `BadInput` or `Gone`.
    """
    source_id = str(UUID(event["source_id"]))
    log.bind(event["job_id"], source_id=source_id, workspace_id=event["workspace_id"])

    def remaining() -> float:
        return float(context.get_remaining_time_in_millis()) / 1000

    try:
        client = provider.connect(event["config"], sources.credentials(source_id), remaining)
    except KeyError as error:
        raise BadInput(f"the configuration or the credentials lack {error}") from None
    checkpoint = load(source_id)
    if checkpoint.job_id != event["job_id"]:
        checkpoint.begin_job(event["job_id"])
    until = max(remaining() - WORK_SECONDS, RESERVE_SECONDS)
    run = Run(
        event["workspace_id"],
        source_id,
        event["config"],
        client,
        checkpoint,
        lambda: remaining() >= until,
        int(event.get("max_deleted_percent") or settings().sweep_max_percent),
    )
    try:
        return _Worker(event, provider, checkpoint, run).work()
    except (BadInput, Gone, RetryLater) as error:
        raise type(error)(client.redact(str(error))) from None
    except Refused as error:
        raise BadInput(client.redact(str(error))) from None


class _Worker:
    """One invocation: does tasks until there are none, or no time."""

    def __init__(
        self,
        event: Mapping[str, Any],
        provider: Provider,
        checkpoint: Checkpoint,
        run: Run,
    ) -> None:
        self.event = event
        self.provider = provider
        self.job = checkpoint
        self.run = run

    def work(self) -> dict[str, Any]:
        if self.event.get("phase") == "sweep":
            return self._sweep()
        self._plan()
        try:
            wait = self._do_tasks()
        finally:
            self._save()
        job = self.job
        if job.error and not job.tasks and not job.pages and not job.counts["fetched"]:
            raise BadInput(job.error)  # nothing at all could be listed
        return self._answer(wait is not None, wait or 0)

    def _plan(self) -> None:
        """Begin a listing, unless one is under way that serves."""
        job, config = self.job, _fingerprint(self.event["config"])
        is_same, wants_full = job.config == config, bool(self.event["sweep"])
        if is_same and job.listing == self.event["job_id"]:
            return  # this job's own: it goes on, or has ended
        if is_same and job.tasks:
            # What an earlier job has left. By hand, even what it has listed is listed again.
            by_hand = self.event.get("trigger") != "schedule"
            if job.is_full and not (wants_full and by_hand):
                return
            if not job.is_full and not wants_full:
                return
        is_full = wants_full or not is_same or len(job.failed) >= MAX_FAILED
        job.begin_listing(config, is_full=is_full, keeps_marks=is_same)
        job.tasks += self.provider.start(self.run)
        self._save()

    def _do_tasks(self) -> int | None:
        """Do what there is time for; return the seconds to wait before the rest, if any is left."""
        job, in_a_row = self.job, 0
        while job.tasks:
            if not self.run.has_time():
                return 0
            name, external_id, *arguments = job.tasks[0]
            function = self.provider.tasks[name]
            try:
                if external_id is None:
                    self._save()
                    job.tasks[:1] = self._list(function, arguments)
                    job.setbacks = 0
                    continue
                setback = self._read(function, external_id, arguments)
            except RateLimited as error:
                return error.seconds
            job.tasks.pop(0)
            if job.progress:
                job.progress = {}
                parts.drop(self.run.source_id)
            in_a_row = in_a_row + 1 if setback else 0
            if setback and in_a_row == MAX_IN_A_ROW:
                raise setback
        return None

    def _list(self, function: Callable[..., list[Task] | None], arguments: list[Any]) -> list[Task]:
        """What takes a listing's place; one that cannot be had is noted, and the others go on."""
        job = self.job
        try:
            tasks = function(self.run, *arguments) or []
        except RetryLater as error:
            job.setbacks += 1
            if job.setbacks < MAX_SETBACKS:
                raise
            self.run.incomplete(str(error))
        except (Gone, Refused, TooLarge) as error:
            self.run.incomplete(str(error))
        except _MALFORMED as error:
            self.run.incomplete(f"an answer that cannot be read: {type(error).__name__}")
        else:
            job.pages += 1
            return tasks
        return []

    def _read(
        self, function: Callable[..., list[Task] | None], external_id: str, arguments: list[Any]
    ) -> RetryLater | None:
        """Read a document; one that fails is noted, and no reason to end. Returns what may pass."""
        try:
            function(self.run, external_id, *arguments)
        except Gone:
            self.run.drop(external_id)
        except (Refused, TooLarge, RetryLater, *_MALFORMED) as error:
            self._fail(external_id, error)
            return error if isinstance(error, RetryLater) else None
        return None

    def _fail(self, external_id: str, error: Exception) -> None:
        job = self.job
        reason = (
            f"{type(error).__name__}: {error}"
            if not isinstance(error, _MALFORMED)
            else (type(error).__name__)
        )
        log.logger().warning(
            "document skipped",
            code=log.Code.DOCUMENT_SKIPPED,
            external_id=external_id,
            reason=self.run.client.redact(reason),
        )
        if len(job.failed) < MAX_FAILED:
            job.failed.append(job.tasks[0])
        self.run.fetched("failed")
        # It is still there, as far as anybody knows.
        sweeping.see(self.run.source_id, external_id, self.run.listing)

    def _sweep(self) -> dict[str, Any]:
        job = self.job
        if job.tasks or not job.is_full or job.error:
            return self._answer(False, 0)
        swept = sweeping.sweep(
            self.run.source_id,
            job.listing,
            max_percent=self.run.max_deleted_percent,
            has_time=self.run.has_time,
        )
        job.counts["deleted"] += swept.deleted
        job.error = swept.refusal
        self._save()
        return self._answer(swept.has_more, 0)

    def _save(self) -> None:
        save(self.run.source_id, self.job)

    def _answer(self, has_more: bool, wait: int) -> dict[str, Any]:
        job = self.job
        is_complete = not job.tasks and job.error is None
        return {
            "cursor": None,
            "has_more": has_more,
            "retry_after_seconds": wait,
            "counts": job.counts,
            "pages": job.pages,
            "listing_complete": is_complete,
            "sweep_due": is_complete and job.is_full,
            "error": job.error,
        }


def _fingerprint(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
