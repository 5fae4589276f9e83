"""Opens a turn: one transaction takes the lock, stores the message and reserves the quota."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from chatbot import closing, connections, conversations, log, quotas, tables, turns
from chatbot.connections import Connection
from chatbot.errors import BadRequest, Conflict, Forbidden, NotFound
from chatbot.identifiers import created_at, new_id, now_ms, timestamp
from chatbot.models import allowed_models
from chatbot.settings import settings
from chatbot.turns import Head
from functions.ws_message.frames import Chat

GUARD_SECONDS = 24 * 3600
WATCH_SECONDS = 30  # later than the first lease, so that one look is enough
ATTEMPTS = 40


@dataclass(frozen=True, slots=True)
class Opened:
    """What an `ack` says, and the turn, unless it was an earlier frame that opened it."""

    conversation_id: str
    user_message_id: str
    message_id: str
    turn: Head | None = None


class Opening:
    """One `chat` frame of a user in a context that was checked: {user, workspace, chatbot}."""

    def __init__(self, connection: Connection, frame: Chat, context: dict[str, Any]) -> None:
        self.connection, self.frame, self.context = connection, frame, context
        self.workspace_id: str = context["workspace"]["id"]
        self.quota: dict[str, Any] = context["workspace"]["quota"]
        self.conversation_id = frame.conversation_id or new_id()
        self.guard: str | None = None
        if frame.client_message_id is not None:
            # JSON escapes what stands in the parts, so that no two triples have one digest.
            parts = [connection.user_id, frame.chatbot_id, frame.client_message_id]
            self.guard = f"chat#{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"

    def repeated(self) -> Opened | None:
        """The turn that an earlier frame with the same `client_message_id` turn."""
        if self.guard is None:
            return None
        row = tables.get(settings().guards_table, {"guard": self.guard})
        if row is None or row["expires_at"] <= now_ms() // 1000:
            return None
        ids = (row["conversation_id"], row["user_message_id"], row["message_id"])
        return Opened(*ids)

    def open(self) -> Opened:
        """Open the turn. Raises `NotFound`, `BadRequest`, `Conflict` (busy), `QuotaExceeded`."""
        turn = None
        for attempt in range(ATTEMPTS):
            head = self._conversation()
            last = head["last_message_id"] if head else None
            if turn is None or turn.user_message_id <= (last or ""):
                turn = self._turn(last)
                turns.watch(turn.message_id, WATCH_SECONDS)
            actions = self._actions(head, turn)
            try:
                tables.transact(list(actions.values()))
            except tables.TransactionCanceled as canceled:
                failed = {
                    name
                    for name, reason in zip(actions, canceled.reasons, strict=False)
                    if reason == "ConditionalCheckFailed"
                }
                if "guard" in failed and (earlier := self.repeated()):
                    return earlier
                if "running" in failed:
                    raise quotas.too_many(self.quota) from None
                if "quota" in failed:
                    raise quotas.used_up(turn.quota_month) from None
                tables.back_off(attempt)
                continue
            return Opened(self.conversation_id, turn.user_message_id, turn.message_id, turn)
        raise Conflict("The conversation or its workspace is busy.")

    def _conversation(self) -> dict[str, Any] | None:
        """The named conversation's head, free for a turn; None where a new one starts."""
        if self.frame.conversation_id is None:
            return None
        head = conversations.head(self.conversation_id)
        owner = conversations.owner(self.workspace_id, self.connection.user_id)
        if head is None or head["owner"] != owner:
            raise NotFound("There is no such conversation.")
        if head["chatbot_id"] != self.frame.chatbot_id:
            raise BadRequest("The conversation is with another chatbot.")
        if running := head.get("running_turn"):
            turn = turns.head(running)
            if turn is None or not turn.is_dead:
                raise Conflict("An answer of this conversation is still running.")
            closing.end(running, closing.interrupted)
            return self._conversation()
        return head

    def _actions(self, head: dict[str, Any] | None, turn: Head) -> dict[str, dict[str, Any]]:
        count = head["message_count"] if head else 0
        user_message = conversations.new_message(
            self.conversation_id,
            turn.user_message_id,
            count + 1,
            "user",
            self.frame.content,
            parent_id=head["last_message_id"] if head else None,
        )
        answer = conversations.new_message(
            self.conversation_id,
            turn.message_id,
            count + 2,
            "assistant",
            "",
            parent_id=turn.user_message_id,
            status="streaming",
        )
        table = settings().conversations_table
        actions = {
            "conversation": self._locked(head, turn),
            "question": _put(table, user_message),
            "answer": _put(table, answer),
            "turn": _put(settings().turns_table, turn.item(), "attribute_not_exists(message_id)"),
            "row": _put(
                settings().connections_table,
                connections.turn_row(turn.message_id, self.connection.user_id, self.workspace_id),
            ),
            "follower": {
                "Update": connections.following(
                    self.connection, self.conversation_id, self.workspace_id
                )
            },
            **quotas.opening(turn, self.quota),
        }
        if self.guard is not None:
            actions["guard"] = self._guard(turn)
        return actions

    def _turn(self, last_message_id: str | None) -> Head:
        user_message_id = new_id(after=last_message_id)
        chatbot, at = self.context["chatbot"], now_ms()
        model = allowed_models().get(chatbot["model_id"])
        if model is None:
            raise Forbidden("The chatbot's model is no longer allowed.")
        text = chatbot["system_prompt"] + self.frame.content
        most = min(chatbot["max_tokens"], model.max_tokens, turns.MAX_OUTPUT_TOKENS)
        turn = Head(
            message_id=new_id(after=user_message_id),
            status="running",
            conversation_id=self.conversation_id,
            workspace_id=self.workspace_id,
            user_id=self.connection.user_id,
            chatbot_id=self.frame.chatbot_id,
            model_id=chatbot["model_id"],
            user_message_id=user_message_id,
            request_id=log.request_id(),
            opened_at=at,
            lease_until=at + turns.FIRST_LEASE_MS,
            max_tokens=most,
            input_estimate=quotas.estimate_tokens(text),
            input_price=model.input_price,
            output_price=model.output_price,
            cache_read_price=model.cache_read_price,
            cache_write_price=model.cache_write_price,
            reserved_tokens=0,
            reserved_cost="0",
            quota_month=timestamp(at)[:7],
            snapshot=json.dumps(self.context, ensure_ascii=False),
            token_version=self.connection.token_version,
        )
        return quotas.reserving(turn, quotas.most_tokens(text) + quotas.OVERHEAD_TOKENS)

    def _locked(self, head: dict[str, Any] | None, turn: Head) -> dict[str, Any]:
        """The conversation with this turn in it, and the lock taken."""
        title = conversations.title_from(self.frame.content)
        at = created_at(turn.message_id)
        if head is None:
            fresh = conversations.new_head(
                self.conversation_id,
                self.workspace_id,
                self.connection.user_id,
                self.frame.chatbot_id,
                title,
            )
            fresh |= {
                "running_turn": turn.message_id,
                "last_message_id": turn.message_id,
                "last_message_at": at,
                "message_count": 2,
            }
            table = settings().conversations_table
            return _put(table, fresh, "attribute_not_exists(conversation_id)")
        return tables.update(
            settings().conversations_table,
            conversations.head_key(self.conversation_id),
            "SET running_turn = :turn, last_message_id = :turn, last_message_at = :at,"
            " updated_at = :at, title = :title ADD message_count :two, version :one",
            {
                ":turn": turn.message_id,
                ":at": at,
                ":title": head["title"] or title,
                ":two": 2,
                ":one": 1,
                ":seen": head["version"],
            },
            "version = :seen AND attribute_not_exists(running_turn)"
            " AND attribute_not_exists(deleting)",
        )

    def _guard(self, turn: Head) -> dict[str, Any]:
        now = now_ms() // 1000
        row = {
            "guard": self.guard,
            "conversation_id": turn.conversation_id,
            "user_message_id": turn.user_message_id,
            "message_id": turn.message_id,
            "expires_at": now + GUARD_SECONDS,
        }
        put = _put(
            settings().guards_table, row, "attribute_not_exists(guard) OR expires_at <= :now"
        )
        put["Put"]["ExpressionAttributeValues"] = tables.pack({":now": now})
        return put


def _put(table: str, item: dict[str, Any], condition: str | None = None) -> dict[str, Any]:
    put: dict[str, Any] = {"TableName": table, "Item": tables.pack(item)}
    if condition:
        put["ConditionExpression"] = condition
    return {"Put": put}
