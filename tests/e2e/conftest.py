"""The running stack, through its own URLs. `make e2e` starts it; `STACK` names it."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from localstack_client.session import Session

from tests.e2e.client import Rest, Tenant, sign_up

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Stack:
    """What `make -s outputs` says of the stack, and AWS clients for it."""

    outputs: dict[str, Any]

    def client(self, service: str) -> Any:
        return _session(self.outputs["gateway_url"]).client(service)

    def sql(self, statement: str, **params: str) -> Any:
        """Run a statement as the tables' owner; the rows' first column, text that is JSON."""
        answer = self.client("rds-data").execute_statement(
            resourceArn=self.outputs["database_cluster_arn"],
            secretArn=self.outputs["database_secret_arns"]["migrator"],
            database=self.outputs["database_name"],
            sql=statement,
            parameters=[
                {"name": name, "value": {"stringValue": value}} for name, value in params.items()
            ],
        )
        return [json.loads(row[0]["stringValue"]) for row in answer.get("records", [])]


def _session(gateway_url: str) -> boto3.Session:
    os.environ["AWS_ENDPOINT_URL"] = gateway_url
    session: boto3.Session = Session()
    return session


def read_outputs() -> dict[str, Any]:
    """The outputs of the stack that `STACK` names; it must be up."""
    printed = subprocess.run(
        ["make", "-s", "outputs", f"STACK={os.environ.get('STACK', 'test')}"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    outputs: dict[str, Any] = json.loads(printed)
    return outputs


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack(read_outputs())


@pytest.fixture(scope="session")
def new_tenant(stack: Stack) -> Callable[[], Tenant]:
    """Makes a user with a workspace and a chatbot of their own."""
    return partial(sign_up, stack.outputs["api_url"], stack.outputs["websocket_url"])


@pytest.fixture
def tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


@pytest.fixture
def other_tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


@pytest.fixture(scope="session")
def administrator(stack: Stack) -> Rest:
    """The platform's, who is no member of anybody's workspace."""
    anyone = Rest(stack.outputs["api_url"])
    login = {"email": stack.outputs["admin_email"], "password": stack.outputs["admin_password"]}
    return Rest(anyone.api_url, anyone.ok("POST", "/auth/login", login)["access_token"])


@pytest.fixture
def limit(administrator: Rest) -> Callable[..., None]:
    """Sets a workspace's quota, as an operator does."""

    def set_quota(tenant: Tenant, **quota: Any) -> None:
        changed = administrator.ok("PATCH", tenant.path, {"quota": quota})
        assert quota.items() <= changed["quota"].items()

    return set_quota
