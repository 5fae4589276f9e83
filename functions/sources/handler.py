"""Sources, from which a workspace draws knowledge, and their jobs: the runs that bring it.

A source is a row, a secret and a schedule. The row is made first and the others are found by its
id, so whatever breaks off in between leaves a source that can be changed, and deleted as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import database, sources
from chatbot.api import Api, Request
from chatbot.errors import NotFound, PreconditionFailed, ValidationFailed
from chatbot.paging import Page
from chatbot.parameters import identifier
from functions.sources import jobs, states

if TYPE_CHECKING:
    from functions.sources.bodies import NewSource, SourcePatch

PATH = "/workspaces/<workspace_id>/sources"
JOBS = "/workspaces/<workspace_id>/jobs"

api = Api("sources")


@api.get(PATH, "sources:read")
def index(request: Request, page: Page) -> Any:
    """List the sources of a workspace."""
    found = request.query(LIST, page.params)
    return page.answer({**found, "items": states.add(found["items"])})


@api.post(PATH, "sources:write", status=201, idempotent=True)
def create(request: Request, body: NewSource) -> Any:
    """Connect a source; it runs by its schedule from now on."""
    from functions.sources import bodies

    bodies.check_config(body.provider, body.config)
    bodies.check_credentials(body.provider, body.credentials)
    made = request.query(INSERT, body.model_dump(exclude={"credentials"}))
    # A repetition may come after the source has been deleted.
    if request.idempotency is None or _find(request, made["id"]) is not None:
        sources.provide(_workspace_id(request), made, body.credentials)
    return states.add([made])[0]


@api.get(f"{PATH}/<source_id>", "sources:read")
def read(request: Request, source_id: str) -> Any:
    """Read a source, with its health."""
    [source] = states.add([request.query(SELECT, {"id": source_id})])
    return {**source, "health": states.health(source_id)}


@api.patch(f"{PATH}/<source_id>", "sources:write")
def update(request: Request, source_id: str, body: SourcePatch) -> Any:
    """Change a source."""
    changes = body.changes()
    if "config" in changes or "credentials" in changes:
        from functions.sources import bodies

        source = request.query(SELECT, {"id": source_id})
        merged = {**source["config"], **changes.get("config", {})}
        config = {name: value for name, value in merged.items() if value is not None}
        bodies.check_config(source["provider"], config)
        if "credentials" in changes:
            bodies.check_credentials(source["provider"], changes["credentials"])
    source = request.query(UPDATE, {"id": source_id, "changes": changes})
    sources.change(_workspace_id(request), source, changes.get("credentials"))
    return states.add([source])[0]


@api.delete(f"{PATH}/<source_id>", "sources:write", status=204)
def delete(request: Request, source_id: str) -> None:
    """Delete a source: nothing of it is found any more; the rest is removed by a machine."""
    source = request.query(SELECT, {"id": source_id})
    if request.if_match is not None and str(source["version"]) not in request.if_match:
        raise PreconditionFailed
    # First the machine: it goes on where this call ends too early.
    sources.start_removal(_workspace_id(request), source_id)
    _query(request, DELETE, {"id": source_id})


@api.post(
    f"{PATH}/<source_id>/sync",
    "sources:write",
    status=202,
    idempotent=True,
    problems=[ValidationFailed],
)
def sync(request: Request, source_id: str) -> Any:
    """Run a source now, and sweep it for deletions."""
    source = _find(request, source_id)
    if source is None:
        raise NotFound
    return {"job_id": jobs.start(_workspace_id(request), source, request)}


@api.post(f"{PATH}/<source_id>/replay", "sources:write", status=202)
def replay(request: Request, source_id: str) -> Any:
    """Embed a source's failed documents again, as many as there is time for."""
    request.query(SELECT, {"id": source_id})
    return states.replay(source_id)


@api.get(JOBS, "sources:read")
def list_jobs(request: Request, page: Page, source_id: str | None = identifier()) -> Any:
    """List the jobs of a workspace, or with `source_id` of a source, newest first."""
    is_there = _query(request, EXISTS, {"id": source_id})
    found = jobs.listed(_workspace_id(request), source_id, page) if is_there else jobs.NONE
    return page.answer(found)


@api.get(f"{JOBS}/<job_id>", "sources:read")
def read_job(request: Request, job_id: str) -> Any:
    """Read a job."""
    _query(request, EXISTS, {"id": None})
    return jobs.read(_workspace_id(request), job_id)


def _workspace_id(request: Request) -> str:
    return str(request.workspace_id)


def _query(request: Request, statement: str, params: dict[str, Any]) -> Any:
    # Not by `request.query`: the request's key and version are for another statement or store.
    return database.query(
        request.principal,
        statement,
        params,
        workspace_id=request.workspace_id,
        permission=str(request.route.access),
    )


def _find(request: Request, source_id: str) -> Any:
    return _query(request, SELECT, {"id": source_id})


LIST = """
SELECT app.page(array_agg(app.json(source) ORDER BY created_at DESC, id DESC),
    ($1 ->> 'limit')::int)
FROM (
    SELECT * FROM app.sources
    WHERE workspace_id = app.workspace_id() AND ($1 -> 'after' IS NULL OR (created_at, id)
        < (($1 #>> '{after,created_at}')::timestamptz, ($1 #>> '{after,id}')::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT ($1 ->> 'limit')::int + 1
) AS source
"""
SELECT = """
SELECT app.json(source) FROM app.sources AS source
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
"""
EXISTS = """
SELECT to_jsonb($1 ->> 'id' IS NULL OR EXISTS (SELECT FROM app.sources
    WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid))
"""
INSERT = """
INSERT INTO app.sources AS source (provider, name, config, schedule, is_enabled)
SELECT provider, name, config, schedule, is_enabled
FROM jsonb_populate_record(NULL::app.sources, $1)
RETURNING app.json(source)
"""
UPDATE = """
UPDATE app.sources AS source
SET name = coalesce($1 #>> '{changes,name}', name),
    config = jsonb_strip_nulls(config || coalesce($1 #> '{changes,config}', '{}')),
    schedule = coalesce($1 #>> '{changes,schedule}', schedule),
    is_enabled = coalesce(($1 #> '{changes,is_enabled}')::boolean, is_enabled)
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING app.json(source)
"""
DELETE = """
WITH forgotten AS (
    DELETE FROM app.chunks
    WHERE workspace_id = app.workspace_id() AND source_id = ($1 ->> 'id')::uuid
)
DELETE FROM app.sources
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING to_jsonb(id)
"""

handler = api.handler
