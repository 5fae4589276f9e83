"""A backup is restored to a point in time, as Aurora does it: a copy of the data, and the log.

What README's "Restore a backup" says of the database, with PostgreSQL itself.
"""

import json
import secrets
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from chatbot import database
from chatbot.errors import ServiceUnavailable
from localstack.postgres import ADMIN
from tests.integration.database.conftest import Cluster, Tenant, cluster_maker, found_workspace
from tests.integration.database.server import (
    DataApi,
    Server,
    copy_data,
    restored_server,
    running_server,
)
from tests.integration.database.test_knowledge import row, search, store, texts

PASSWORD = b"correct horse battery staple"
DAY = 24 * 3600


@pytest.fixture
def log() -> Iterator[Path]:
    """Where a server keeps its log for later, whoever it runs as."""
    with tempfile.TemporaryDirectory(prefix="chatbot-log-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_tenants_log_in_and_find_their_own_when_database_is_restored(
    tmp_path: Path, log: Path
) -> None:
    """All of them at one time: what was committed until then is there, what came later is not."""
    archive = f"cp %p {log}/%f.part && mv {log}/%f.part {log}/%f"
    with running_server(archive_mode="on", archive_command=archive) as server:
        lost = cluster_maker(server)()
        lost.migrate("up")
        copy_data(server, tmp_path / "copy")
        tenants, token = _founded(lost)
        [[moment]] = server.sql("SELECT clock_timestamp()")
        with lost.as_login("app"):
            late = found_workspace("late")
        server.sql("DROP SCHEMA app CASCADE", database=lost.name)
        _archive(server)
    for secret, value in lost.secrets.values.items():
        if not secret.endswith("master"):  # rotated since then
            changed = {**json.loads(value), "password": secrets.token_hex(32)}
            lost.secrets.values[secret] = json.dumps(changed)
    with restored_server(tmp_path / "copy", server, log, moment) as server:
        found = Cluster(lost.name, server, lost.secrets, DataApi(server, lost.secrets))
        with found.as_login("app"), pytest.raises(ServiceUnavailable):
            _log_in(tenants[0])
        assert found.migrate("up") == {"migrations": []}
        with found.as_login("app"):
            for tenant, own, other in zip(tenants, WORDS, reversed(WORDS), strict=True):
                _log_in(tenant)
                assert texts(search(tenant, f"{own} {other}")) == [_told(own)]
                seen = "SELECT jsonb_agg(workspace_id) FROM app.memberships"
                members = database.query(tenant.owner, seen, workspace_id=tenant.workspace_id)
                assert members == [tenant.workspace_id] * 2
            assert database.call("app.credentials", {"email": late.owner.email}) is None
            assert _refreshed(token)["status"] == "ok"
        # Sessions that ended since then live again, so the operator ends all.
        found.sql("TRUNCATE app.refresh_tokens", user="chatbot_migrator")
        with found.as_login("app"):
            assert _refreshed(token)["status"] == "unknown"
        store(found, row(tenants[0]), "Written after all that.")
        with found.as_login("app"):
            assert "Written after all that." in texts(search(tenants[0], "Written after"))


WORDS = ("heron", "osprey")


def _told(word: str) -> str:
    return f"The secret word is {word}."


def _founded(cluster: Cluster) -> tuple[list[Tenant], str]:
    """Two tenants with a document each, whose owners have a password, and a session's token."""
    with cluster.as_login("app"):
        tenants = [found_workspace(word) for word in WORDS]
    for tenant, word in zip(tenants, WORDS, strict=True):
        store(cluster, row(tenant), _told(word))
        hashed = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(4)).decode()
        cluster.sql(
            f"UPDATE app.credentials SET password_hash = '{hashed}'"
            f" WHERE user_id = '{tenant.owner.user_id}'",
            user=ADMIN,
        )
    with cluster.as_login("app"):
        return tenants, _log_in(tenants[0])


def _log_in(tenant: Tenant) -> str:
    """As the route does, by what it asks of the database: a refresh token's hash."""
    user = database.call("app.credentials", {"email": tenant.owner.email})
    assert bcrypt.checkpw(PASSWORD, user["password_hash"].encode())
    token = uuid.uuid4().hex
    session = {
        "user_id": user["user_id"],
        "token_version": user["token_version"],
        "token_hash": token,
        "family_id": str(uuid.uuid4()),
        "expires_in": DAY,
        "family_expires_in": DAY,
    }
    database.call("app.start_session", session)
    return token


def _refreshed(token: str) -> dict[str, str]:
    asked = {"token_hash": token, "new_token_hash": token[::-1], "expires_in": DAY, "at_ms": 0}
    answer: dict[str, str] = database.call("app.rotate_session", asked)
    return answer


def _archive(server: Server) -> None:
    """Wait until the log that was written so far is kept."""
    [[segment]] = server.sql("SELECT pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + 30
    while server.sql(f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver") != [["t"]]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
