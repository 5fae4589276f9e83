"""Migrates the database, called by `make` and after every apply; rotates its logins' passwords,
called by Secrets Manager.

Event: `{"action": "up", "to"?}`, `{"action": "down", "steps"?: 1}`, `{"action": "status"}` or
`{"action": "create_administrator", "email", "username", "full_name", "password"}`. The function's
own secret is the cluster's master user, who makes the logins; the rest is done as the migrator.
Or a step of a rotation: see `chatbot.rotation`.
"""

from collections.abc import Mapping
from typing import Any

import bcrypt

from chatbot import database, log, opensearch
from chatbot.rotation import rotate
from functions.migrate import files, index, logins
from functions.migrate.files import Migration, MigrationError

# One call runs a file and records it, in one transaction; the lock makes a second runner wait, and
# then fail on the key. A file travels as a parameter, so the Data API does not parse it.
_LEDGER = (
    "CREATE SCHEMA IF NOT EXISTS app",
    """CREATE TABLE IF NOT EXISTS app.schema_migrations (
        version integer PRIMARY KEY,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )""",
    """CREATE OR REPLACE FUNCTION app.apply_migration(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
        LOCK TABLE app.schema_migrations IN EXCLUSIVE MODE;
        INSERT INTO app.schema_migrations (version, name, checksum)
        VALUES ((p ->> 'version')::int, p ->> 'name', p ->> 'checksum');
        EXECUTE p ->> 'sql';
        RETURN NULL;
    END $$""",
    """CREATE OR REPLACE FUNCTION app.revert_migration(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
        LOCK TABLE app.schema_migrations IN EXCLUSIVE MODE;
        DELETE FROM app.schema_migrations WHERE version = (p ->> 'version')::int
            AND version = (SELECT max(version) FROM app.schema_migrations);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'migration % is not the last one', p ->> 'version';
        END IF;
        EXECUTE p ->> 'sql';
        RETURN NULL;
    END $$""",
    "REVOKE ALL ON FUNCTION app.apply_migration(jsonb), app.revert_migration(jsonb) FROM PUBLIC",
)


def _as_migrator(sql: str, params: Mapping[str, Any] | None = None) -> Any:
    return database.execute(sql, params, secret_arn=logins.secret_arn("migrator"))


def _run(function: str, migration: Migration, sql: str) -> None:
    params = {
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
        "sql": sql,
    }
    try:
        _as_migrator(f"SELECT {function}(:params::jsonb)", {"params": params})
    except database.StatementFailed as failure:
        raise MigrationError(f"{migration}: {failure.message}") from None


def _applied() -> dict[int, dict[str, str]]:
    rows = _as_migrator(
        "SELECT jsonb_agg(to_jsonb(m) ORDER BY version) FROM app.schema_migrations m"
    )
    return {row["version"]: row for row in rows or []}


def _up(event: Mapping[str, Any]) -> list[str]:
    left = files.pending(files.read(), _applied())
    chosen = [one for one in left if one.version <= event.get("to", one.version)]
    for one in chosen:
        _run("app.apply_migration", one, one.up)
    return [str(one) for one in chosen]


def _down(event: Mapping[str, Any]) -> list[str]:
    applied = _applied()
    known = files.read()
    files.pending(known, applied)
    newest_first = [one for one in reversed(known) if one.version in applied]
    chosen = newest_first[: event.get("steps", 1)]
    for one in chosen:
        _run("app.revert_migration", one, one.down)
    return [str(one) for one in chosen]


def _create_administrator(event: Mapping[str, Any]) -> dict[str, Any]:
    password = event["password"].encode()
    user: dict[str, Any] = _as_migrator(
        "SELECT app.create_administrator(:params::jsonb)",
        {
            "params": {
                "email": event["email"],
                "username": event["username"],
                "full_name": event["full_name"],
                "password_hash": bcrypt.hashpw(password, bcrypt.gensalt(12)).decode(),
                "request_id": log.request_id(),
            }
        },
    )
    return user


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Run one action. Raises `MigrationError`, or `StatementFailed` with a SQLSTATE.

    Answers `{"migrations": [name]}` with those applied or reverted, `{"applied", "pending"}` for
    "status", `{"user": User}` for "create_administrator".
    """
    log.bind(context.aws_request_id)
    if "Step" in event:
        rotate(event, logins.new_password, logins.use_password)
        return {}
    action = event["action"]
    if action == "up":
        logins.provide_logins()
        for statement in _LEDGER:
            _as_migrator(statement)
        done = _up(event)
        if opensearch.is_on():
            index.provide()
        return {"migrations": done}
    if action == "down":
        return {"migrations": _down(event)}
    if action == "status":
        applied = _applied()
        left = files.pending(files.read(), applied)
        names = [f"{version:04}_{record['name']}" for version, record in sorted(applied.items())]
        return {"applied": names, "pending": [str(one) for one in left]}
    if action == "create_administrator":
        return {"user": _create_administrator(event)}
    raise ValueError(f"unknown action {action!r}")
