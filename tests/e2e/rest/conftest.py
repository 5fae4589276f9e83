"""One cast for a run, and the handlers called in this process on the stack's stores."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

import bcrypt
import pytest

from chatbot import aws, log, passwords, rate_limit, tools
from chatbot.principal import Principal
from chatbot.settings import settings
from layers import build
from tests.e2e.conftest import Stack
from tests.e2e.rest.cast import Cast, Person, make_cast
from tests.e2e.rest.table import declared
from tests.unit.rest import Answer, event, send


@pytest.fixture(scope="session")
def cast(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Cast:
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the run's; below it each worker has its own
    file = folder / "cast.json"
    with (folder / "cast.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_text(json.dumps(asdict(make_cast(stack))))
    made = json.loads(file.read_text())
    people = {name: Person(**person) for name, person in made.pop("people").items()}
    return Cast(people=people, **made)


class Inside:
    """Calls the handlers as the gateway does, without it; `calls` are those to AWS meanwhile.

    `on_answer` is called with each of them when AWS has answered.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.on_answer: Callable[[str], None] = lambda _: None

    def __call__(
        self,
        method: str,
        path: str,
        person: Person | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "198.51.100.7",
    ) -> Answer:
        """Answer a request below `/api/v1`; a body that is a string is sent as it is."""
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        caller = Principal(person.user_id, 1) if person and person.token else None
        request = event(method, f"/api/v1{path}", body, caller=caller, headers=headers, query=query)
        request["requestContext"]["http"]["sourceIp"] = address
        self.calls.clear()
        return send(self._handler(path), request)

    def _handler(self, path: str) -> Any:
        steps = path.split("/")
        for name, route in declared().items():
            pattern = name.split(" ")[1].split("/")
            if len(pattern) == len(steps) and all(map(_fits, pattern, steps)):
                return import_module(route.endpoint.__module__).handler
        raise LookupError(f"no route has {path}")

    def note(self, **call: Any) -> None:
        self.calls.append(_operation(call))

    def answered(self, **call: Any) -> None:
        self.on_answer(_operation(call))


def _fits(part: str, step: str) -> bool:
    return part == step or part.startswith("{")


def _operation(call: dict[str, Any]) -> str:
    return f"{call['model'].service_model.service_name}.{call['model'].name}"


@pytest.fixture(scope="session")
def running_inside(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    configuration = stack.client("lambda").get_function_configuration(
        FunctionName=stack.outputs["function_names"]["auth"]
    )
    environment = {
        **configuration["Environment"]["Variables"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": stack.outputs["aws_region"],
        "AWS_ENDPOINT_URL": stack.outputs["gateway_url"],
        "DEBUG": "false",
        "USER_REQUESTS_PER_MINUTE": "1000000",
        "SIGN_IN_ATTEMPTS_PER_MINUTE": "1000000",
    }
    inside = Inside()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings.cache_clear()
        log.logger.cache_clear()
        registry = tmp_path_factory.mktemp("registry") / "tools.json"
        registry.write_text(build.registry(), encoding="utf-8")
        patch.setattr(tools, "REGISTRY", registry)
        # Counted apart from the same people's requests through the gateway.
        count = rate_limit.count
        patch.setattr(rate_limit, "count", lambda of, limit: count(f"inside#{of}", limit))
        aws.session().register("before-call", inside.note)
        aws.session().register("after-call", inside.answered)
        yield inside
        aws.session.cache_clear()
        aws.client.cache_clear()
        settings.cache_clear()
        log.logger.cache_clear()


@pytest.fixture
def inside(running_inside: Inside) -> Iterator[Inside]:
    yield running_inside
    running_inside.on_answer = lambda _: None


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes made here have the least cost: what they are of is the same."""
    monkeypatch.setattr(passwords, "_COST", 4)
    monkeypatch.setattr(passwords, "_NOBODY", bcrypt.hashpw(b"nobody", bcrypt.gensalt(4)))
