"""The function `migrate` on a real PostgreSQL, from an empty database and back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chatbot import database
from functions.migrate import files
from functions.migrate.files import MigrationError
from tests.integration.database.conftest import Cluster

NewCluster = Callable[..., Cluster]
_OBJECTS = """
    SELECT kind, name FROM (
        SELECT 'relation', relname::text FROM pg_class WHERE relnamespace = 'app'::regnamespace
        UNION ALL
        SELECT 'function', p.oid::regprocedure::text FROM pg_proc p
        WHERE pronamespace = 'app'::regnamespace
        UNION ALL
        SELECT 'policy', polrelid::regclass || '.' || polname FROM pg_policy
        UNION ALL
        SELECT 'trigger', tgrelid::regclass || '.' || tgname FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT 'grant', coalesce(relacl::text, '') || relname FROM pg_class
        WHERE relnamespace = 'app'::regnamespace
    ) AS objects (kind, name) ORDER BY kind, name
"""


def test_schema_is_the_same_when_migrated_up_down_and_up(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    names = [str(one) for one in files.read()]
    assert cluster.migrate("up") == {"migrations": names}
    made = cluster.sql(_OBJECTS)

    assert cluster.migrate("down", steps=len(names)) == {"migrations": names[::-1]}
    left = [name for kind, name in cluster.sql(_OBJECTS) if kind in {"policy", "trigger"}]
    assert left == []
    assert cluster.migrate("status") == {"applied": [], "pending": names}

    assert cluster.migrate("up") == {"migrations": names}
    assert cluster.sql(_OBJECTS) == made


def test_each_migration_can_be_reverted_by_itself(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    for one in files.read():
        assert cluster.migrate("up", to=one.version) == {"migrations": [str(one)]}
        made = cluster.sql(_OBJECTS)
        assert cluster.migrate("down") == {"migrations": [str(one)]}
        assert cluster.migrate("up", to=one.version) == {"migrations": [str(one)]}
        assert cluster.sql(_OBJECTS) == made


def test_up_changes_nothing_when_run_again(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    cluster.migrate("up")
    secrets = dict(cluster.secrets.values)
    assert cluster.migrate("up") == {"migrations": []}
    assert cluster.secrets.values == secrets
    assert cluster.sql("SELECT current_user", user="chatbot_app") == [["chatbot_app"]]


def test_up_works_when_the_secrets_are_left_from_an_earlier_database(
    cluster: Cluster, new_cluster: NewCluster
) -> None:
    secrets = dict(cluster.secrets.values)
    later = new_cluster()
    assert later.migrate("up") == {"migrations": [str(one) for one in files.read()]}
    assert later.secrets.values == secrets
    for login in ("migrator", "app", "worker"):
        kept = json.loads(secrets[f"arn:chatbot-test-database-{login}"])
        assert kept["username"] == f"chatbot_{login}"
        assert len(kept["password"]) >= 32
        for place in (cluster, later):
            assert place.sql("SELECT current_user", user=f"chatbot_{login}") == [
                [f"chatbot_{login}"]
            ]


def _copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = folder / "migrations"
    shutil.copytree(files.FOLDER, copy)
    monkeypatch.setattr(files.read, "__defaults__", (copy,))
    return copy


def test_nothing_is_applied_when_a_file_was_edited_or_is_missing(
    new_cluster: NewCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster()
    cluster.migrate("up")
    folder = _copied(tmp_path, monkeypatch)
    (folder / "0001_foundation.down.sql").write_text("SELECT 1;")
    for action in ("up", "down", "status"):
        with pytest.raises(MigrationError, match="0001_foundation was edited"):
            cluster.migrate(action)

    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(MigrationError, match="0001_foundation was applied, its file is missing"):
        cluster.migrate("up")


def test_a_failing_migration_leaves_no_trace(
    new_cluster: NewCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster()
    cluster.migrate("up")
    before = cluster.sql(_OBJECTS)
    folder = _copied(tmp_path, monkeypatch)
    number = files.read(folder)[-1].version + 1
    (folder / f"{number:04}_broken.up.sql").write_text(
        "CREATE TABLE app.half (id int); INSERT INTO app.nowhere VALUES (1);"
    )
    (folder / f"{number:04}_broken.down.sql").write_text("DROP TABLE app.half;")
    with pytest.raises(MigrationError, match=r'_broken: ERROR: +relation "app\.nowhere"'):
        cluster.migrate("up")
    assert cluster.sql(_OBJECTS) == before
    assert cluster.migrate("status")["pending"] == [f"{number:04}_broken"]


def test_create_administrator_is_safe_to_repeat(cluster: Cluster) -> None:
    event = {
        "email": "Root@example.com",
        "username": "root",
        "full_name": "Root",
        "password": "correct horse battery",
    }
    first = cluster.migrate("create_administrator", **event)["user"]
    again = cluster.migrate("create_administrator", **{**event, "email": "root@EXAMPLE.com"})[
        "user"
    ]
    assert first["is_admin"] is True
    assert again["id"] == first["id"]
    with cluster.as_login("app"):
        known = database.call("app.credentials", {"email": "ROOT@example.com"})
    assert known["user_id"] == first["id"]
    assert known["password_hash"].startswith("$2b$12$")
    assert (known["is_admin"], known["email_verified"]) == (True, True)


def _rotate(cluster: Cluster, secret: str, step: str) -> None:
    cluster.call_migrate({"Step": step, "SecretId": secret, "ClientRequestToken": "second"})


def test_rotation_gives_a_login_another_password_when_its_last_step_is_taken(
    new_cluster: NewCluster,
) -> None:
    cluster = new_cluster()
    cluster.migrate("up")
    secret = "arn:chatbot-test-database-worker"
    before = dict(cluster.secrets.values)
    for step in ("createSecret", "createSecret", "setSecret", "testSecret"):
        _rotate(cluster, secret, step)
    assert cluster.secrets.values == before
    assert cluster.sql("SELECT current_user", user="chatbot_worker") == [["chatbot_worker"]]
    _rotate(cluster, secret, "finishSecret")
    assert cluster.secrets.values[secret] != before[secret]
    assert cluster.secrets.values == before | {secret: cluster.secrets.values[secret]}
    assert cluster.sql("SELECT current_user", user="chatbot_worker") == [["chatbot_worker"]]


def test_rotation_is_refused_when_the_secret_names_a_login_that_is_not_ours(
    new_cluster: NewCluster,
) -> None:
    cluster = new_cluster()
    secret = "arn:chatbot-test-database-master"
    before = dict(cluster.secrets.values)
    _rotate(cluster, secret, "createSecret")
    with pytest.raises(ValueError, match="not a login of ours"):
        _rotate(cluster, secret, "finishSecret")
    assert cluster.secrets.values == before
