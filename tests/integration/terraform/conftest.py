"""Plans of all environments by the real provider, and one environment applied to a mock of it."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from localstack import offline

ENVIRONMENTS = ("local", "dev", "staging", "prod")
# What an environment may switch on.
OPTIONS = (
    '-var=edge={domain_name="api.example.com",'
    f'certificate_arn="arn:aws:acm:us-east-1:{offline.ACCOUNT}:certificate/c"}}',
    "-var=opensearch=true",
    f"-var=permissions_boundary_arn=arn:aws:iam::{offline.ACCOUNT}:policy/boundary",
)

Resource = dict[str, Any]


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    with offline.root() as copy:
        offline.initialize(copy)
        yield copy


@pytest.fixture(scope="session")
def planned(root: Path) -> Callable[[str], dict[str, Resource]]:
    """Environment to what its plan makes, by address."""

    @cache
    def plan(environment: str) -> dict[str, Resource]:
        shown = offline.plan(root, environment)[1]
        return {
            change["address"]: change["change"]["after"]
            for change in shown["resource_changes"]
            if change["change"]["actions"] == ["create"]
        }

    return plan


def _resources(module: Resource) -> Iterator[Resource]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources(child)


@pytest.fixture(scope="session")
def applied(root: Path) -> list[Resource]:
    """All that production is made of, with every option: its addresses, types and values."""
    lines = offline.run(
        root, "test", "-json", "-verbose", "-test-directory=tests/environment",
        "-var-file=environments/prod/terraform.tfvars", *OPTIONS,
    )  # fmt: skip
    [state] = [
        message["test_state"]["root_module"]
        for message in map(json.loads, lines.splitlines())
        if message["type"] == "test_state"
    ]
    return list(_resources(state))
