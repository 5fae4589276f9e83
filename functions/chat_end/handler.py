"""The states `EndTurn` and `EndTool`, and what ends a turn whose machine cannot: stores how it
came out.

Called by the machine, by EventBridge for its executions that failed, timed out or were aborted, and
by the queue that looks after every turn.
"""

import json
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chatbot import closing, log, tool_calls, tool_rounds, turns
from chatbot.aws import client
from chatbot.identifiers import now_ms
from chatbot.replay import replay
from chatbot.settings import settings
from chatbot.turns import Head, Outcome

UNAVAILABLE = Outcome.failed("model_unavailable", "The model is not available now.")
TIME_OUTS = {"States.Timeout", "Sandbox.Timedout"}
SOON_SECONDS = 5  # after the first failure; four times as much after each further one
LOOK_AGAIN_SECONDS = 2  # after the lease that is being watched
MAX_DELAY_SECONDS = 900  # of SQS


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer the machine with {message_id, status}, SQS with {batchItemFailures}."""
    if "Records" in event:
        return _serve_queue(event["Records"])
    if "detail" in event:
        message_id = event["detail"]["name"]
        turn = turns.head(message_id)
        log.bind(turn.request_id if turn else event["id"], message_id=message_id)
        log.logger().warning("an execution died", code=log.Code.EXECUTION_DIED)
        return _answer(message_id, closing.end(message_id, closing.interrupted))
    return _end_call(event) if "call" in event else _end(event)


def _end_call(event: dict[str, Any]) -> dict[str, Any]:
    """End a call of a tool that could not end by itself: {message_id, call, error}."""
    message_id = event["message_id"]
    log.bind(event["request_id"], message_id=message_id)
    log.logger().warning("a tool failed", code=log.Code.TOOL_FAILED, reason=event["error"])
    turn, call = turns.head(message_id), tool_rounds.call(message_id, event["call"])
    if turn is not None and call is not None:
        late = event["error"] in TIME_OUTS
        text = tool_calls.TIMED_OUT if late else tool_calls.FAILED
        if call.requires_approval and call.attempt is not None:
            text = f"{text} {tool_calls.UNKNOWN}"
        tool_calls.end(turn, call, "failed", text)
    return {"message_id": message_id, "call": event["call"]}


def _end(event: dict[str, Any]) -> dict[str, Any]:
    """End a turn for its machine: {message_id, request_id} or {…, error}."""
    log.bind(event["request_id"], message_id=event["message_id"])

    def verdict(turn: Head) -> Outcome:
        if turn.outcome is not None:
            return Outcome(**turn.outcome)
        if event.get("error") == "RetryLater" and not turn.cancel_requested:
            return UNAVAILABLE._replace(usage=turn.counted(0, 0, estimated=True))
        return closing.interrupted(turn)

    return _answer(event["message_id"], closing.end(event["message_id"], verdict))


def _answer(message_id: str, turn: Head | None) -> dict[str, Any]:
    return {"message_id": message_id, "status": turn.result if turn else "deleted"}


def _serve_queue(records: list[dict[str, Any]]) -> dict[str, Any]:
    failures = []
    for record in records:
        body = json.loads(record["body"])
        log.bind(record["messageId"])
        try:
            if "replay" in body:
                _replay(**body["replay"])
            else:
                _watch(body["message_id"])
        except Exception as error:  # noqa: BLE001  SQS brings this one again, the others are done
            log.logger().error("not looked after", code=log.Code.WATCH_FAILED, exc_info=error)
            failures.append({"itemIdentifier": record["messageId"]})
            _bring_soon(record)
    return {"batchItemFailures": failures}


def _bring_soon(record: dict[str, Any]) -> None:
    """Have SQS not wait for the whole visibility timeout: a turn must end within a minute."""
    times = int(record["attributes"]["ApproximateReceiveCount"])
    with suppress(BotoCoreError, ClientError):
        client("sqs").change_message_visibility(
            QueueUrl=settings().turn_watch_queue_url,
            ReceiptHandle=record["receiptHandle"],
            VisibilityTimeout=SOON_SECONDS * 4 ** (times - 1),
        )


def _watch(message_id: str) -> None:
    """End a turn that shows no sign of life, and look again later at one that does."""
    turn = turns.head(message_id)
    if turn is None:
        return
    if turn.cancel_requested and not turn.has_producer and turn.outcome is None:
        closing.end(message_id, closing.interrupted)  # nobody else is there to end it
        return
    if turn.is_running and not turn.is_dead:
        left = (turn.lease_until - now_ms()) // 1000 + LOOK_AGAIN_SECONDS
        turns.watch(message_id, min(left, MAX_DELAY_SECONDS))
        return
    if turn.is_running:
        log.bind(turn.request_id, message_id=message_id)
        log.logger().warning("a turn died", code=log.Code.TURN_DIED)
    closing.end(message_id, closing.interrupted)


def _replay(connection_id: str, message_id: str, after_seq: int) -> None:
    turn = turns.head(message_id)
    if turn is not None:
        replay(connection_id, turn, after_seq)
