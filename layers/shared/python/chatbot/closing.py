"""The end of a turn: one transaction that happens once, whoever makes it, and its final frame.

`chat_end` makes it as a rule; `ws_message` and `conversations` do for a turn whose machinery died
or that has no producer to cancel.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chatbot import connections, conversations, log, quotas, tables, tool_rounds, turns
from chatbot.errors import Gone
from chatbot.identifiers import now_ms, timestamp
from chatbot.settings import settings
from chatbot.turns import Head, Outcome

SENDERS = 16
SEND_ATTEMPTS = 6
ATTEMPTS = 60
MESSAGE_BYTES = 380_000  # its text and its tools' calls; a DynamoDB item holds 400 KB

INTERRUPTED = Outcome.failed("interrupted", "The answer was interrupted.")

type Verdict = Callable[[Head], Outcome]


def interrupted(head: Head) -> Outcome:
    """The verdict on a turn whose machinery died: cancelled if that was asked, else failed."""
    usage = (head.outcome or {}).get("usage")
    if head.cancel_requested:
        return Outcome.cancelled(usage)
    return INTERRUPTED._replace(usage=usage)


def close(message_id: str, verdict: Verdict) -> Head | None:
    """End a turn if it still runs. Returns its head after the end, or None if there is no turn.

    The verdict is asked again whenever somebody changed the turn meanwhile.
    """
    in_conversation = True
    for attempt in range(ATTEMPTS):
        head = turns.head(message_id)
        if head is None or not head.is_running:
            return head
        stored = list(turns.frames(message_id))
        end = _End(head, verdict(head), turns.text_of(stored), len(stored) + 1)
        if head.spent is not None:
            end.rounds = tool_rounds.stored(message_id)
        try:
            tables.transact(end.actions(in_conversation))
        except tables.TransactionCanceled as canceled:
            if not canceled.is_conflict:
                in_conversation = _is_stored(head)
            tables.back_off(attempt)
            continue
        log.logger().info(
            "turn ended",
            code=log.Code.TURN_ENDED,
            message_id=message_id,
            turn_request_id=head.request_id,
            status=end.outcome.status,
            frames=len(stored) + 1,
        )
        log.measure(
            TurnTime=end.at - head.opened_at,
            InputTokens=end.usage["input_tokens"],
            OutputTokens=end.usage["output_tokens"],
            FailedTurns=int(end.outcome.status == "failed"),
        )
        return turns.head(message_id)
    raise RuntimeError("a turn could not be closed: others were at its items each time")


def _is_stored(head: Head) -> bool:
    conversation = conversations.head(head.conversation_id)
    return bool(conversation and conversation.get("running_turn") == head.message_id)


class _End:
    """What the closing transaction writes."""

    def __init__(self, head: Head, outcome: Outcome, text: str, seq: int) -> None:
        self.head, self.outcome, self.text, self.seq = head, outcome, text, seq
        self.at = now_ms()
        self.rounds: list[tool_rounds.Round] = []
        self.used = outcome.usage or _unfinished_usage(head, text)
        self.usage = quotas.shown(self.used)

    def actions(self, in_conversation: bool) -> list[dict[str, Any]]:
        settled = quotas.closing(self.head, self.used)
        actions = [self._final_frame(), self._turn_head(), self._running_row(), *settled]
        if in_conversation:
            actions += [self._message(), self._conversation()]
        return actions

    def _final_frame(self) -> dict[str, Any]:
        frame = final_frame(
            self.head,
            self.seq,
            {
                "status": self.outcome.status,
                "content": self.text,
                "stop_reason": self.outcome.stop_reason,
                "usage": self.usage,
                "citations": self.outcome.citations,
                "error": self.outcome.error,
            },
        )
        item = turns.key(self.head.message_id, self.seq) | {
            "frame": frame,
            "writer": "end",
            "expires_at": self.at // 1000 + turns.FRAME_TTL_SECONDS,
        }
        return {
            "Put": {
                "TableName": settings().turns_table,
                "Item": tables.pack(item),
                "ConditionExpression": "attribute_not_exists(message_id)",
            }
        }

    def _turn_head(self) -> dict[str, Any]:
        return tables.update(
            settings().turns_table,
            turns.key(self.head.message_id),
            "SET #status = :ended, #result = :result, ended_at = :at, final_seq = :seq"
            " REMOVE #snapshot, producing_until",
            {
                ":ended": "ended",
                ":running": "running",
                ":result": self.outcome.status,
                ":at": self.at,
                ":seq": self.seq,
                **quotas.as_reserved(self.head),
            },
            f"#status = :running AND {quotas.AS_RESERVED}",
            {"#status": "status", "#snapshot": "snapshot", "#result": "result"},
        )

    def _running_row(self) -> dict[str, Any]:
        return {
            "Delete": {
                "TableName": settings().connections_table,
                "Key": tables.pack(connections.turn_row_key(self.head.message_id)),
            }
        }

    def _message(self) -> dict[str, Any]:
        return tables.update(
            settings().conversations_table,
            conversations.message_key(self.head.conversation_id, self.head.message_id),
            "SET content = :text, #status = :status, stop_reason = :reason, #usage = :usage,"
            " #error = :error, citations = :citations, tool_calls = :calls, updated_at = :at",
            {
                ":text": self.text,
                ":status": self.outcome.status,
                ":reason": self.outcome.stop_reason,
                ":usage": self.usage,
                ":error": self.outcome.error,
                ":citations": self.outcome.citations,
                ":calls": tool_rounds.for_message(
                    self.rounds, MESSAGE_BYTES - len(self.text.encode())
                ),
                ":at": timestamp(self.at),
            },
            "attribute_exists(conversation_id)",
            {"#status": "status", "#usage": "usage", "#error": "error"},
        )

    def _conversation(self) -> dict[str, Any]:
        return tables.update(
            settings().conversations_table,
            conversations.head_key(self.head.conversation_id),
            "SET last_message_at = :at, updated_at = :at REMOVE running_turn ADD version :one",
            {":at": timestamp(self.at), ":turn": self.head.message_id, ":one": 1},
            "running_turn = :turn",
        )


def _unfinished_usage(head: Head, text: str) -> dict[str, Any]:
    """The usage of a turn whose model did not get to count: of its rounds, and an estimate of
    what was under way."""
    if head.spent is not None and not head.input_estimate:
        return head.spent
    said = quotas.estimate_tokens(text) - (head.spent["output_tokens"] if head.spent else 0)
    return head.counted(head.input_estimate, max(said, 0), estimated=True)


def final_frame(head: Head, seq: int, message: Mapping[str, Any]) -> str:
    """The final frame of an assistant message, without its content where it would be too large."""
    frame = {
        "type": "assistant",
        "status": message["status"],
        "message_id": head.message_id,
        "conversation_id": head.conversation_id,
        "seq": seq,
        "content": message["content"],
        "stop_reason": message["stop_reason"],
        "usage": message["usage"],
        "citations": message["citations"],
        "request_id": head.request_id,
    }
    if message.get("error"):
        frame["error"] = message["error"]
    text = turns.encode(frame)
    if len(text.encode()) > turns.MAX_FRAME_BYTES:
        del frame["content"]
        text = turns.encode(frame | {"content_truncated": True})
    return text


def deliver(head: Head) -> None:
    """Send an ended turn's frames to its followers: to each what it has not got, the final last.

    Somebody else's delivery of the same turn, or one that was broken off, is made again: at least
    once.
    """
    if head.final_sent:
        return
    delivered = turns.delivered(head.message_id)
    stored = list(turns.frames(head.message_id))
    followers = connections.followers(head.conversation_id)

    def send(follower: connections.Follower) -> None:
        _, after = follower.progress(head.message_id, delivered)
        send_all(follower.connection_id, head.conversation_id, stored[after:] or stored[-1:])

    if followers:
        with ThreadPoolExecutor(min(SENDERS, len(followers))) as pool:
            list(pool.map(send, followers))
    turns.mark_final_sent(head.message_id)


def send_all(connection_id: str, conversation_id: str, frames: list[str]) -> bool:
    """Send frames in order, each a few times if need be. False where the connection is gone."""
    for frame in frames:
        for attempt in range(SEND_ATTEMPTS):
            try:
                connections.post(connection_id, frame)
                break
            except Gone:
                connections.unfollow(conversation_id, [connection_id])
                return False
            except connections.Undelivered as reason:
                log.logger().info(
                    "frame not delivered", code=log.Code.FRAME_UNDELIVERED, reason=str(reason)
                )
                time.sleep(0.05 * 2**attempt)
        else:
            return False
    return True


def end(message_id: str, verdict: Verdict) -> Head | None:
    """Close a turn, if nobody has, and see that its final frame is sent."""
    head = close(message_id, verdict)
    if head is not None:
        deliver(head)
    return head


def stored_final(head: Head) -> str | None:
    """The final frame of an ended turn, made again from the stored message."""
    message = conversations.message(head.conversation_id, head.message_id)
    return final_frame(head, head.final_seq, message) if message else None
