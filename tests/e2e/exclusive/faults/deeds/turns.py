"""Messages to a chatbot, and their answers."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.client import Chat, Frame, Tenant, Turn
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.faults.deeds.patience import ACK_WITHIN, BACK_OFF, PATIENCE

SILENCE = 10
ENDS_WITHIN = 60  # of the contract: seconds from a message to the end of its answer
GREETING = "Are you there?"


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
        self._say(GREETING)

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
            answer = chat.until(
                lambda f: "type" not in f or f.get("client_message_id") == mark, ACK_WITHIN
            )
            if answer.get("type") != "ack":
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
        code = error["code"] if "type" in error else error["message"]
        assert code in {"internal", "busy", "rate_limited", "Internal server error"}, error
        self.errors[code] += 1

    def check(self) -> None:
        stored: dict[str, Any] = {}
        for conversation in self._conversations():
            for message in self.tenant.messages(conversation["id"]):
                stored[message["id"]] = message
        questions = Counter(m["content"] for m in stored.values() if m["role"] == "user")
        answers = [m for m in stored.values() if m["role"] == "assistant"]
        assert questions == Counter([GREETING, *self.said])
        assert len(answers) == len(self.said) + 1
        for words, turn in self.said.items():
            final, kept = turn.check(), stored[turn.message_id]
            assert turn.frames == self._log(turn.message_id)
            assert stored[turn.ack["user_message_id"]]["content"] == words
            for name in ("status", "stop_reason", "usage", "citations"):
                assert kept[name] == final[name], name
            assert kept["content"] == turn.text
        assert not [m for m in answers if m["status"] == "streaming"]
        assert not [m for m in answers if _seconds(m) > ENDS_WITHIN]
        self._check_counters(answers)
        self._check_goes_on()

    def _log(self, message_id: str) -> list[Frame]:
        """The frames that were stored for an answer, its end's among them."""
        rows = self.stack.client("dynamodb").query(
            TableName=self.stack.outputs["table_names"]["turns"],
            KeyConditionExpression="message_id = :turn AND seq > :head",
            ExpressionAttributeValues={":turn": {"S": message_id}, ":head": {"N": "0"}},
        )["Items"]
        return [json.loads(row["frame"]["S"]) for row in rows]

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
        with ThreadPoolExecutor(self.count) as pool:
            statuses = pool.map(self._ask_again, self.said.values())
        assert set(statuses) == {"completed"}

    def _ask_again(self, turn: Turn) -> str:
        conversation_id = turn.ack["conversation_id"]
        with self.tenant.chat() as chat:
            after = chat.ask(self.tenant.chatbot_id, "Go on.", conversation_id=conversation_id)
        return str(after.check()["status"])


def _seconds(answer: Mapping[str, Any]) -> float:
    """How long an answer took, from its opening to its end."""
    began, ended = (datetime.fromisoformat(answer[at]) for at in ("created_at", "updated_at"))
    return (ended - began).total_seconds()


@dataclass
class Answered(Turns):
    """Turns whose faults are all made good, by retries as many as the faults or by coming again.
    Every answer is a whole one."""

    def check(self) -> None:
        super().check()
        statuses = Counter(turn.check()["status"] for turn in self.said.values())
        assert statuses == {"completed": self.count}, (statuses, self.errors)
