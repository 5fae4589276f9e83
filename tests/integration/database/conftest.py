"""One PostgreSQL a session, one migrated database with two tenants."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from chatbot import aws, database, log, opensearch, settings
from functions.migrate import handler, logins
from localstack.postgres import ADMIN
from tests.integration.database.server import (
    MASTER,
    DataApi,
    Secrets,
    Server,
    running_server,
)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@dataclass
class Cluster:
    """A database, the clients that lead to it, and `chatbot.settings` for it."""

    name: str
    server: Server
    secrets: Secrets
    data_api: DataApi
    opensearch_endpoint: str = ""

    def sql(self, statement: str, user: str = ADMIN) -> list[Any]:
        """Rows, as text, of a statement run past the Data API."""
        if user not in (ADMIN, MASTER):
            secret = f"arn:chatbot-test-database-{user.removeprefix('chatbot_')}"
            self.server.passwords[user] = json.loads(self.secrets.values[secret])["password"]
        return self.server.sql(statement, user=user, database=self.name)

    def migrate(self, action: str, **event: Any) -> dict[str, Any]:
        """Call the function `migrate`, with the master user's secret as its own."""
        return self.call_migrate({"action": action, **event})

    def call_migrate(self, event: dict[str, Any]) -> dict[str, Any]:
        """The same with any event."""
        with self.as_login("master"):
            context = SimpleNamespace(aws_request_id=str(uuid.uuid4()))
            return handler.handler(event, context)

    def as_login(self, login: str) -> Any:
        """Within it `chatbot.database` signs in as `app`, `worker`, `migrator` or `master`."""
        patch = pytest.MonkeyPatch()
        patched = _SETTINGS._replace(
            database_name=self.name,
            opensearch_endpoint=self.opensearch_endpoint,
            database_secret_arn=f"arn:chatbot-test-database-{login}",
        )
        clients = {"rds-data": self.data_api, "secretsmanager": self.secrets}

        class Login:
            def __enter__(self) -> None:
                patch.setattr(aws, "client", clients.__getitem__)
                for module in (database, log, logins, opensearch):
                    patch.setattr(module, "settings", lambda: patched)

            def __exit__(self, *_: object) -> None:
                patch.undo()

        return Login()


def _any_settings() -> settings.Settings:
    values: dict[str, Any] = dict.fromkeys(settings.Settings._fields, "")
    return settings.Settings(
        **{**values, "environment": "test", "database_wait_seconds": 5, "debug": False}
    )


_SETTINGS = _any_settings()


def cluster_maker(server: Server) -> Callable[..., Cluster]:
    """Makes empty databases, each owned by the master user, who is no superuser."""

    # Logins belong to the server, so one set of passwords for all databases.
    secrets = Secrets(logins.LOGINS)
    secrets.values["arn:chatbot-test-database-master"] = json.dumps(
        {"username": MASTER, "password": server.passwords[MASTER]}
    )

    def make() -> Cluster:
        name = f"chatbot_{uuid.uuid4().hex[:8]}"
        server.sql(f"CREATE DATABASE {name} OWNER {MASTER}")
        return Cluster(name, server, secrets, DataApi(server, secrets))

    return make


@pytest.fixture(scope="session")
def new_cluster(server: Server) -> Callable[..., Cluster]:
    return cluster_maker(server)


@dataclass(frozen=True)
class Person:
    user_id: str
    token_version: int
    email: str


@dataclass
class Tenant:
    """A workspace with its owner, a viewer and a chatbot."""

    workspace_id: str
    owner: Person
    viewer: Person
    chatbot_id: str
    roles: dict[str, str] = field(default_factory=dict)


INSERT_CHATBOT = """
    INSERT INTO app.chatbots AS c
        (name, model_id, temperature, max_tokens, max_tool_rounds, knowledge)
    VALUES ($1->>'name', 'model', 0.7, 1000, 3, '{"enabled": false}')
    RETURNING app.json(c)
"""


def register(name: str = "person") -> Person:
    """A new user, by the function that registration calls."""
    email = f"{name}-{uuid.uuid4().hex[:12]}@example.com"
    user = database.call(
        "app.register",
        {
            "email": email,
            "username": name,
            "full_name": f"{name} of the tests",
            "password_hash": "$2b$12$hash",
            "verified": True,
        },
    )
    return Person(user["id"], 1, email)


def found_workspace(name: str) -> Tenant:
    """A workspace and what it holds, made as the API makes it."""
    owner, viewer = register(f"{name}-owner"), register(f"{name}-viewer")
    workspace = database.call(
        "app.create_workspace",
        {
            "user_id": owner.user_id,
            "token_version": 1,
            "name": name,
            "quota": {"max_concurrent_turns": 5},
        },
    )
    roles = database.query(
        owner,
        "SELECT jsonb_object_agg(name, id) FROM app.roles",
        workspace_id=workspace["id"],
    )
    database.query(
        owner,
        """INSERT INTO app.memberships AS m (user_id, role_id)
           VALUES (($1->>'user_id')::uuid, ($1->>'role_id')::uuid) RETURNING app.json(m)""",
        {"user_id": viewer.user_id, "role_id": roles["viewer"]},
        workspace_id=workspace["id"],
    )
    chatbot = database.query(
        owner, INSERT_CHATBOT, {"name": f"{name}'s"}, workspace_id=workspace["id"]
    )
    return Tenant(workspace["id"], owner, viewer, chatbot["id"], roles)


@pytest.fixture(scope="session")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    """The migrated database that tests share; each makes its own users and workspaces."""
    made = new_cluster()
    made.migrate("up")
    return made


@pytest.fixture
def app(cluster: Cluster) -> Iterator[Cluster]:
    """`chatbot.database` signs in as chatbot_app."""
    with cluster.as_login("app"):
        yield cluster


@pytest.fixture
def tenants(app: Cluster) -> tuple[Tenant, Tenant]:
    return found_workspace("ours"), found_workspace("theirs")
