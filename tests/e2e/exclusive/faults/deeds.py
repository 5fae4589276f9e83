"""What is done while AWS fails, by clients that do not give up, and what must hold afterwards."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.client import PASSWORD, Chat, Frame, Rest, Tenant, Turn
from tests.e2e.conftest import Stack
from tests.e2e.sources import Source, connect, search, until

PATIENCE = 150  # seconds until a client that does not give up must have got what it wants
ENDS_WITHIN = 60  # of the contract: seconds from a message to its final frame
ACK_WITHIN = 15
SILENCE = 10
BACK_OFF = 0.5
# What tells a client to come again; the gateway's own answers among them.
LATER = {429, 500, 502, 503, 504}


class Deed(Protocol):
    """One kind of use. `prepare` comes before the faults and has workers started, `check` after."""

    def prepare(self) -> None: ...
    def act(self) -> None: ...
    def check(self) -> None: ...


def persist(tenant: Tenant, method: str, path: str, body: Any, **headers: str) -> Any:
    """The body of a success, however often it takes. Every refusal until then is a clear one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        rest = Rest(tenant.rest.api_url, tenant.tokens["access_token"])
        answer = rest.session.request(
            method, f"{rest.api_url}/api/v1{path}", json=body, headers=headers, timeout=60
        )
        if answer.ok:
            return answer.json() if answer.content else None
        check_refusal(answer)
        assert time.monotonic() < deadline, answer.text
        time.sleep(BACK_OFF)


def check_refusal(answer: requests.Response) -> None:
    """A fault of AWS is told as one, never as one of the client's."""
    assert answer.status_code in LATER, f"{answer.status_code} {answer.text}"
    shown = answer.json()
    assert "Traceback" not in answer.text
    assert "arn:" not in answer.text
    if answer.status_code in (429, 503) and "request_id" in shown:
        assert int(answer.headers["Retry-After"]) > 0


@dataclass
class Turns:
    """Messages said at once, each until its answer has ended: the same one again where nothing was
    acknowledged, `resume` where the answer falls silent."""

    tenant: Tenant
    stack: Stack
    words: str = "[[words 60]] [[pace 10]]"
    count: int = 6
    said: dict[str, Turn] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    def prepare(self) -> None:
        self._say("Are you there?")

    def act(self) -> None:
        contents = [f"{uuid4().hex} {self.words}" for _ in range(self.count)]
        with ThreadPoolExecutor(self.count) as pool:
            self.said = dict(zip(contents, pool.map(self._say, contents), strict=True))

    def _say(self, content: str) -> Turn:
        deadline = time.monotonic() + PATIENCE
        mark, turn = str(uuid4()), None
        while turn is None or turn.final is None:
            assert time.monotonic() < deadline, (self.errors, turn and turn.frames)
            try:
                with self.tenant.chat() as chat:
                    turn = self._follow(chat, content, mark, turn)
            except (TimeoutError, ConnectionClosed, InvalidStatus, OSError) as error:
                self.errors[type(error).__name__] += 1
                time.sleep(BACK_OFF)
        return turn

    def _follow(self, chat: Chat, content: str, mark: str, turn: Turn | None) -> Turn:
        """Get on with one connection as far as it goes."""
        if turn is None:
            frame = {"chatbot_id": self.tenant.chatbot_id, "content": content}
            chat.send({"type": "chat", "client_message_id": mark, **frame})
            answer = chat.until(lambda f: f.get("client_message_id") == mark, ACK_WITHIN)
            if answer["type"] == "error":
                self._note(answer)
                raise TimeoutError
            turn = Turn(answer)
        else:
            chat.send({"type": "resume", "message_id": turn.message_id, "after_seq": turn.seq})
        while turn.final is None:
            try:
                turn.take(chat.receive(SILENCE))
            except (TimeoutError, ConnectionClosed):
                break
        return turn

    def _note(self, error: Frame) -> None:
        assert error["code"] in {"internal", "busy", "rate_limited"}, error
        self.errors[error["code"]] += 1

    def check(self) -> None:
        stored: dict[str, Any] = {}
        for conversation in self._conversations():
            for message in self.tenant.messages(conversation["id"]):
                stored[message["id"]] = message
        contents = Counter(m["content"] for m in stored.values() if m["role"] == "user")
        assert {words: contents[words] for words in self.said} == dict.fromkeys(self.said, 1)
        for words, turn in self.said.items():
            final, kept = turn.check(), stored[turn.message_id]
            assert stored[turn.ack["user_message_id"]]["content"] == words
            for name in ("status", "stop_reason", "usage", "citations"):
                assert kept[name] == final[name], name
            assert kept["content"] == turn.text
        assert not [m for m in stored.values() if m["status"] == "streaming"]
        self._check_counters([m for m in stored.values() if m["role"] == "assistant"])
        self._check_goes_on()

    def _conversations(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.tenant.rest.ok(
            "GET", f"{self.tenant.path}/conversations", params={"limit": "100"}
        )["items"]
        return listed

    def _check_counters(self, answers: list[dict[str, Any]]) -> None:
        """No place and no reservation is held, and the usage is what the answers took."""
        rows = self.stack.client("dynamodb").query(
            TableName=self.stack.outputs["table_names"]["usage"],
            KeyConditionExpression="workspace_id = :workspace",
            ExpressionAttributeValues={":workspace": {"S": self.tenant.workspace_id}},
        )["Items"]
        counters = {row["item"]["S"].partition("#")[0]: row for row in rows}
        used = sum(sum(m["usage"][f"{d}_tokens"] for d in ("input", "output")) for m in answers)
        assert int(counters["RUNNING"]["turns"]["N"]) == 0
        assert int(counters["QUOTA"]["tokens"]["N"]) == used
        total = self.tenant.rest.ok("GET", f"{self.tenant.path}/usage")["total"]
        assert total["turns"] == len(answers)
        assert total["input_tokens"] + total["output_tokens"] == used

    def _check_goes_on(self) -> None:
        with self.tenant.chat() as chat:
            for turn in self.said.values():
                after = chat.ask(
                    self.tenant.chatbot_id,
                    "still there?",
                    conversation_id=turn.ack["conversation_id"],
                )
                assert after.check()["status"] == "completed"


@dataclass
class Answered(Turns):
    """Turns whose faults are all made good: every answer is a whole one."""

    def check(self) -> None:
        super().check()
        statuses = Counter(turn.check()["status"] for turn in self.said.values())
        assert statuses == {"completed": self.count}, (statuses, self.errors)


@dataclass
class Resources:
    """Chatbots made at once, each with a key of its own, and changed."""

    tenant: Tenant
    stack: Stack
    count: int = 8
    made: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        persist(self.tenant, "GET", f"{self.tenant.path}/chatbots", None)

    def act(self) -> None:
        names = [uuid4().hex for _ in range(self.count)]
        with ThreadPoolExecutor(self.count) as pool:
            self.made = dict(zip(names, pool.map(self._make, names), strict=True))

    def _make(self, name: str) -> Any:
        path = f"{self.tenant.path}/chatbots"
        made = persist(self.tenant, "POST", path, {"name": name}, **{"Idempotency-Key": name})
        persist(self.tenant, "PATCH", f"{path}/{made['id']}", {"description": name})
        return made

    def check(self) -> None:
        path = f"{self.tenant.path}/chatbots"
        listed = self.tenant.rest.ok("GET", path, params={"limit": "100"})["items"]
        found = {item["name"]: item for item in listed if item["name"] in self.made}
        assert len([item for item in listed if item["name"] in self.made]) == self.count
        for name, made in self.made.items():
            assert (found[name]["id"], found[name]["description"]) == (made["id"], name)


@dataclass
class Documents:
    """Documents written and deleted by hand: all are found, but for the deleted ones."""

    tenant: Tenant
    stack: Stack
    count: int = 5
    kept: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        persist(self.tenant, "POST", f"{self.tenant.path}/search", {"query": "warm"})

    def act(self) -> None:
        words = [f"zq{uuid4().hex[:14]}" for _ in range(self.count)]
        with ThreadPoolExecutor(self.count) as pool:
            ids = dict(zip(words, pool.map(self._write, words), strict=True))
        gone = words[0]
        self.deleted, self.kept = {gone: ids.pop(gone)}, ids
        self._delete(self.deleted[gone])

    def _write(self, word: str) -> str:
        path, body = f"{self.tenant.path}/documents", {"title": word, "content": f"It is {word}."}
        made = persist(self.tenant, "POST", path, body, **{"Idempotency-Key": word})
        return str(made["id"])

    def _delete(self, document_id: str) -> None:
        path = f"{self.tenant.path}/documents/{document_id}"

        def gone() -> bool:
            answer = self.tenant.rest.session.delete(f"{self.tenant.rest.api_url}/api/v1{path}")
            if answer.status_code in (204, 404):
                return True
            check_refusal(answer)
            return False

        until(gone, PATIENCE, BACK_OFF)

    def _listed(self) -> dict[str, str]:
        items = self.tenant.rest.ok(
            "GET", f"{self.tenant.path}/documents", params={"limit": "100"}
        )["items"]
        return {item["id"]: item["status"] for item in items}

    def check(self) -> None:
        until(lambda: "pending" not in self._listed().values(), PATIENCE)
        assert self._listed() == dict.fromkeys(self.kept.values(), "embedded")
        for word, document_id in self.kept.items():
            found = [item for item in search(self.tenant, word) if word in item["content"]]
            assert [item["document_id"] for item in found] == [document_id]
        [word] = self.deleted
        until(lambda: not [i for i in search(self.tenant, word) if word in i["content"]], PATIENCE)


@dataclass
class Ingestion:
    """A run of a source, once more where the first did not succeed."""

    tenant: Tenant
    stack: Stack
    provider: str = "slack"
    config: dict[str, Any] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        persist(self.tenant, "GET", f"{self.tenant.path}/sources", None)
        self.source: Source = connect(self.tenant, self.stack, self.provider, config=self.config)

    def act(self) -> None:
        self._run()

    def _run(self) -> None:
        """A job that was accepted, or is under way already, up to its end."""
        jobs = f"{self.tenant.path}/jobs?source_id={self.source.id}"

        def sync() -> bool:
            answer = self.tenant.rest.session.post(
                f"{self.tenant.rest.api_url}/api/v1{self.source.path}/sync"
            )
            if answer.status_code not in (202, 409):
                check_refusal(answer)
            return answer.status_code in (202, 409)

        until(sync, PATIENCE, BACK_OFF)

        def ended() -> Any:
            shown = self.tenant.rest.session.get(f"{self.tenant.rest.api_url}/api/v1{jobs}")
            if not shown.ok:
                return check_refusal(shown)
            newest = shown.json()["items"][0]
            return newest if newest["status"] != "running" else None

        self.statuses.append(until(ended, PATIENCE)["status"])

    def check(self) -> None:
        while self.statuses[-1] != "succeeded":
            assert len(self.statuses) < 4, self.statuses
            self._run()
        until(lambda: self.source.read()["health"]["pending"] == 0, PATIENCE)
        documents = self.source.documents()
        assert {d["status"] for d in documents.values()} == {"embedded"}
        state = self.source.read()
        assert (state["status"], state["last_error"]) == ("idle", None)
        assert {(key, d["title"]) for key, d in documents.items()} == self._calm()

    def _calm(self) -> set[tuple[str, str]]:
        """What another source finds there when nothing fails."""
        calm = connect(self.tenant, self.stack, self.provider, config=self.config)
        assert calm.run()["status"] == "succeeded"
        return {(key, d["title"]) for key, d in calm.documents().items()}


@dataclass
class SignIns:
    """Log-ins, calls and handshakes: no good token is ever called a bad one."""

    tenant: Tenant
    stack: Stack
    count: int = 4
    users: list[Any] = field(default_factory=list)

    def prepare(self) -> None:
        """Nothing: the first use is to be under the faults."""

    def act(self) -> None:
        with ThreadPoolExecutor(self.count) as pool:
            self.users = list(pool.map(self._sign_in, range(self.count)))

    def _sign_in(self, _: int) -> Any:
        login = {"email": self.tenant.email, "password": PASSWORD}
        tokens = persist(self.tenant, "POST", "/auth/login", login)
        tenant = Tenant(
            self.tenant.email,
            self.tenant.user,
            tokens,
            Rest(self.tenant.rest.api_url, tokens["access_token"]),
            self.tenant.workspace_id,
            self.tenant.chatbot_id,
            self.tenant.websocket_url,
        )
        me = persist(tenant, "GET", "/users/me", None)
        ticket = persist(tenant, "POST", "/auth/ws-ticket", None)["ticket"]
        assert ticket
        until(lambda: self._connects(tenant), PATIENCE, BACK_OFF)
        return me

    def _connects(self, tenant: Tenant) -> bool:
        try:
            with tenant.chat() as chat:
                chat.send({"type": "ping"})
                return bool(chat.until(lambda f: f["type"] in {"pong", "error"}, ACK_WITHIN))
        except (InvalidStatus, TimeoutError, ConnectionClosed, OSError):
            return False

    def check(self) -> None:
        assert [user["id"] for user in self.users] == [self.tenant.user["id"]] * self.count


type Make = Callable[[Tenant, Stack], Deed]


def dead_letters(stack: Stack) -> dict[str, int]:
    """How many messages lie in each dead-letter queue."""
    sqs, found = stack.client("sqs"), {}
    for name, url in stack.outputs["queue_urls"].items():
        if name.endswith("dead_letter"):
            answer = sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
            )
            found[name] = int(answer["Attributes"]["ApproximateNumberOfMessages"])
    return found
