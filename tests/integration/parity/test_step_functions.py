"""Step Functions: what AWS documents, where MiniStack as it comes does otherwise.

Quotations are from the Step Functions Developer Guide and API Reference.
"""

import json
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.integration.parity.gateway import ROLE, Server, wait_until

INVOKE = "arn:aws:states:::lambda:invoke"
TOKEN = "{% $states.context.Task.Token %}"
CAUGHT = "{% $states.errorOutput %}"
RETRIES = "{% $states.context.State.RetryCount %}"
FAILS = {"fails": 1}

FUNCTION = """
import os
import time


class RetryLater(Exception):
    pass


def handler(event, context):
    if "seconds" in event:
        time.sleep(event["seconds"])
    if event.get("fails", 0) > event.get("retries", 0):
        raise RetryLater("not yet")
    if event.get("dies"):
        os._exit(1)
    return event.get("answer", "x" * event.get("length", 0))
"""


def machine(server: Server, states: dict[str, Any], **fields: Any) -> str:
    """The ARN of a JSONata machine that starts with the first of these states."""
    definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
    made = server.client("stepfunctions").create_state_machine(
        name=f"parity-{uuid.uuid4().hex[:8]}",
        definition=json.dumps({**definition, **fields}),
        roleArn=ROLE,
    )
    return str(made["stateMachineArn"])


def start(server: Server, arn: str, given: Any = None, **fields: Any) -> str:
    """The ARN of a new execution."""
    started = server.client("stepfunctions").start_execution(
        stateMachineArn=arn, input=json.dumps(given or {}), **fields
    )
    return str(started["executionArn"])


def end(server: Server, execution: str, seconds: float = 15) -> Any:
    """The description of an execution, once it has ended."""
    client = server.client("stepfunctions")

    def ended() -> Any:
        found = client.describe_execution(executionArn=execution)
        return None if found["status"] == "RUNNING" else found

    found = wait_until(ended, seconds)
    assert found, "the execution still runs"
    return found


def run(server: Server, states: dict[str, Any], given: Any = None, **fields: Any) -> Any:
    """The description of an execution of these states, once it has ended."""
    return end(server, start(server, machine(server, states, **fields), given))


def history(server: Server, execution: str) -> list[Any]:
    """All events of an execution."""
    pages = server.client("stepfunctions").get_paginator("get_execution_history")
    return [event for page in pages.paginate(executionArn=execution) for event in page["events"]]


def task(function: str, payload: Any, **fields: Any) -> dict[str, Any]:
    """A Task that calls a function, as the last state."""
    return {
        "Type": "Task",
        "Resource": INVOKE,
        "Arguments": {"FunctionName": function, "Payload": payload},
        "End": True,
        **fields,
    }


def catch(*errors: str) -> dict[str, Any]:
    """The fields of a state that goes to Caught with the error."""
    return {"Catch": [{"ErrorEquals": list(errors), "Next": "Caught", "Output": CAUGHT}]}


CATCHING = {"Caught": {"Type": "Succeed"}}


def status_events(server: Server) -> str:
    """The URL of a queue that gets the status events of all executions from now on."""
    sqs, events = server.client("sqs"), server.client("events")
    name = f"parity-{uuid.uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    pattern = {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {"status": ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]},
    }
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn["QueueArn"]}])
    return str(url)


def detail_of(server: Server, queue: str, execution: str) -> Any:
    """The detail of the status event of this execution."""
    sqs = server.client("sqs")

    def received() -> Any:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        for message in found.get("Messages", []):
            detail = json.loads(message["Body"])["detail"]
            if detail["executionArn"] == execution:
                return detail
        return None

    return wait_until(received, 3)


# --- Errors of functions -------------------------------------------------------------------------


def test_an_error_is_retried_and_caught_by_its_type(server: Server) -> None:
    """ "If a Lambda function raises an exception, its type is the error name"."""
    function = server.function(FUNCTION)
    retry = [{"ErrorEquals": ["RetryLater"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    states = {
        "Try": task(
            function,
            {"fails": 1, "retries": RETRIES, "answer": 1},
            Retry=retry,
            Next="Fail",
        ),
        "Fail": task(function, FAILS, **catch("RetryLater")),
        **CATCHING,
    }
    del states["Try"]["End"]
    found = run(server, states)
    assert found["status"] == "SUCCEEDED"
    caught = json.loads(found["output"])
    assert caught["Error"] == "RetryLater"
    assert json.loads(caught["Cause"])["errorMessage"] == "not yet"


def test_a_killed_function_is_an_exit_error(server: Server) -> None:
    """Lambda reports a runtime that exits as Runtime.ExitError, which is the error name then."""
    function = server.function(FUNCTION)
    found = run(server, {"Die": task(function, {"dies": True}, **catch("States.ALL")), **CATCHING})
    assert json.loads(found["output"])["Error"] == "Runtime.ExitError"


def test_a_throttled_function_is_too_many_requests(server: Server) -> None:
    """ "When Lambda exceeds the maximum number of invocations, the reported error will be
    Lambda.TooManyRequestsException." """
    function = server.function(FUNCTION)
    server.client("lambda").put_function_concurrency(
        FunctionName=function, ReservedConcurrentExecutions=0
    )
    found = run(server, {"Call": task(function, {}, **catch("States.ALL")), **CATCHING})
    assert json.loads(found["output"])["Error"] == "Lambda.TooManyRequestsException"


# --- The end of an execution ---------------------------------------------------------------------


def test_an_execution_times_out_and_tells(server: Server) -> None:
    """ "TimeoutSeconds: The maximum number of seconds an execution of the state machine can run";
    AWS then has status TIMED_OUT without error and cause, and ExecutionTimedOut with
    States.Timeout as the last event; "listen for TIMED_OUT events … with an EventBridge bus"."""
    queue = status_events(server)
    execution = start(
        server,
        machine(server, {"Wait": {"Type": "Wait", "Seconds": 3, "End": True}}, TimeoutSeconds=1),
        {"a": 1},
        name=f"timeout-{uuid.uuid4().hex[:8]}",
    )
    found = end(server, execution)
    assert found["status"] == "TIMED_OUT"
    assert "error" not in found
    assert 1 <= (found["stopDate"] - found["startDate"]).total_seconds() < 2
    last = history(server, execution)[-1]
    assert last["type"] == "ExecutionTimedOut"
    assert last["executionTimedOutEventDetails"] == {"error": "States.Timeout"}
    detail = detail_of(server, queue, execution)
    assert detail["status"] == "TIMED_OUT"
    assert detail["name"] == found["name"]
    assert detail["stateMachineArn"] == found["stateMachineArn"]
    assert detail["startDate"] == int(found["startDate"].timestamp() * 1000)
    assert detail["stopDate"] == int(found["stopDate"].timestamp() * 1000)
    assert json.loads(detail["input"]) == {"a": 1}
    assert {detail[name] for name in ("output", "error", "cause")} == {None}


def test_a_late_failure_does_not_change_an_abort(server: Server) -> None:
    """StopExecution "stops an execution": its state is ABORTED, for good."""
    function = server.function(FUNCTION)
    failing = task(function, {"seconds": 0.5, **FAILS})
    execution = start(server, machine(server, {"Fail": failing}))
    client = server.client("stepfunctions")
    assert wait_until(
        lambda: any(event["type"] == "TaskScheduled" for event in history(server, execution))
    )
    client.stop_execution(executionArn=execution, error="Stopped", cause="by a test")
    # A call of the same function that starts later ends later: by then the first has failed.
    after = run(server, {"Call": task(function, {"seconds": 1})})
    assert after["status"] == "SUCCEEDED"
    found = client.describe_execution(executionArn=execution)
    assert (found["status"], found["error"], found["cause"]) == ("ABORTED", "Stopped", "by a test")
    assert history(server, execution)[-1]["type"] == "ExecutionAborted"


def test_an_abort_ends_iterations_and_tells(server: Server) -> None:
    """Nothing of a stopped execution goes on: no further iteration, task or retry."""
    queue = status_events(server)
    sqs = server.client("sqs")
    written = sqs.create_queue(QueueName=f"parity-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    send = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Arguments": {"QueueUrl": written, "MessageBody": "went on"},
        "End": True,
    }
    each = {"Wait": {"Type": "Wait", "Seconds": 1, "Next": "Send"}, "Send": send}
    execution = start(
        server,
        machine(
            server,
            {
                "Each": {
                    "Type": "Map",
                    "Items": [1, 2, 3],
                    "MaxConcurrency": 2,
                    "ItemProcessor": {"StartAt": "Wait", "States": each},
                    "End": True,
                }
            },
        ),
    )
    server.client("stepfunctions").stop_execution(executionArn=execution)
    assert run(server, {"Wait": {"Type": "Wait", "Seconds": 2, "End": True}})["status"]
    counted = sqs.get_queue_attributes(
        QueueUrl=written, AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert counted["Attributes"]["ApproximateNumberOfMessages"] == "0"
    detail = detail_of(server, queue, execution)
    assert (detail["status"], detail["redriveStatus"]) == ("ABORTED", "REDRIVABLE")


# --- Limits --------------------------------------------------------------------------------------


def test_states_all_does_not_catch_a_result_over_256_kib(server: Server) -> None:
    """ "States.DataLimitExceeded: reported when the output of a connector is larger than payload
    size quota … a terminal error that can't be caught by the States.ALL error type"."""
    function = server.function(FUNCTION)
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1}]
    states = {
        "Big": task(function, {"length": 262_143}, Retry=retry, **catch("States.ALL")),
        **CATCHING,
    }
    found = run(server, states)
    assert (found["status"], found["error"]) == ("FAILED", "States.DataLimitExceeded")


def test_a_result_of_256_kib_passes(stack: Server) -> None:
    """ "Maximum input or output size for a task, state, or execution: 256 KiB of data as a UTF-8
    encoded string", the quotation marks of a JSON string included."""
    function = stack.function(FUNCTION)
    states = {"Big": task(function, {"length": 262_142}, Output="{% $states.result.Payload %}")}
    whole = {"StatusCode": 200, "Payload": ""}
    length = 262_144 - len(json.dumps(whole, separators=(",", ":")))
    states["Big"]["Arguments"]["Payload"]["length"] = length
    found = run(stack, states)
    assert found["status"] == "SUCCEEDED"
    assert len(json.loads(found["output"])) == length


def test_states_all_does_not_catch_25000_events(server: Server) -> None:
    """ "Maximum execution history size: 25,000 events … the execution will fail": States.Runtime,
    which "aren't retriable, and will always cause the execution to fail. A retry or catch on
    States.ALL won't catch States.Runtime errors"."""
    loop = {
        "Add": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 1)"}, "Next": "Enough"},
        "Enough": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericLessThan": 6300, "Next": "Add"}],
            "Default": "Done",
        },
        "Done": {"Type": "Succeed"},
    }
    states = {
        "Loop": {
            "Type": "Parallel",
            "Branches": [{"StartAt": "Add", "States": loop}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
            "Next": "Caught",
        },
        **CATCHING,
    }
    arn = machine(server, states, QueryLanguage="JSONPath")
    found = end(server, start(server, arn, {"n": 0}), 60)
    assert (found["status"], found["error"]) == ("FAILED", "States.Runtime")
    assert found["cause"] == "The execution reached the maximum number of history events (25000)."
    newest = server.client("stepfunctions").get_execution_history(
        executionArn=found["executionArn"], reverseOrder=True, maxResults=1
    )
    assert newest["events"][0]["id"] == 25_000
    assert newest["events"][0]["type"] == "ExecutionFailed"


# --- Fields of a task ----------------------------------------------------------------------------


def test_a_task_times_out_by_an_expression(server: Server) -> None:
    """ "TimeoutSeconds … In JSONata, a JSONata expression that evaluates to a positive integer"."""
    function = server.function(FUNCTION)
    states = {
        "Sleep": task(
            function,
            {"seconds": 3},
            TimeoutSeconds="{% $states.input.limit %}",
            **catch("States.Timeout"),
        ),
        **CATCHING,
    }
    found = run(server, states, {"limit": 1})
    assert found["status"] == "SUCCEEDED"
    assert json.loads(found["output"])["Error"] == "States.Timeout"
    kinds = [event["type"] for event in history(server, found["executionArn"])]
    assert "TaskTimedOut" in kinds


def test_a_missing_heartbeat_fails_the_task(server: Server) -> None:
    """ "States.HeartbeatTimeout: A Task state failed to send a heartbeat for a period longer than
    the HeartbeatSeconds value. HeartbeatTimeout is available inside the Catch and Retry fields"."""
    function = server.function(FUNCTION)
    states = {
        "Call": task(
            function,
            {"token": TOKEN},
            Resource=f"{INVOKE}.waitForTaskToken",
            HeartbeatSeconds=1,
            TimeoutSeconds=4,
            **catch("States.HeartbeatTimeout"),
        ),
        **CATCHING,
    }
    found = run(server, states)
    assert found["status"] == "SUCCEEDED"
    assert json.loads(found["output"])["Error"] == "States.HeartbeatTimeout"


def test_heartbeats_keep_a_task_alive(stack: Server) -> None:
    """SendTaskHeartbeat "resets the HeartbeatSeconds clock", and not the TimeoutSeconds one."""
    sqs, client = stack.client("sqs"), stack.client("stepfunctions")
    queue = sqs.create_queue(QueueName=f"parity-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    states = {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            "Arguments": {"QueueUrl": queue, "MessageBody": {"token": TOKEN}},
            "HeartbeatSeconds": 1,
            "TimeoutSeconds": 3,
            "End": True,
            **catch("States.Timeout"),
        },
        **CATCHING,
    }
    execution = start(stack, machine(stack, states))
    got = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"][0]
    token = json.loads(got["Body"])["token"]

    def beat() -> bool:
        try:
            client.send_task_heartbeat(taskToken=token)
        except client.exceptions.TaskTimedOut:
            return True
        return False

    assert wait_until(beat, 5)
    found = end(stack, execution)
    assert json.loads(found["output"])["Error"] == "States.Timeout"
    assert (found["stopDate"] - found["startDate"]).total_seconds() >= 3


def test_a_failing_function_fails_a_task_with_a_token(server: Server) -> None:
    """Nobody can answer for a function that failed: the task fails with its error."""
    function = server.function(FUNCTION)
    states = {
        "Call": task(
            function,
            {"token": TOKEN, **FAILS},
            Resource=f"{INVOKE}.waitForTaskToken",
            TimeoutSeconds=4,
            **catch("RetryLater"),
        ),
        **CATCHING,
    }
    assert run(server, states)["status"] == "SUCCEEDED"


def test_a_retry_waits_no_longer_than_its_maximum(server: Server) -> None:
    """ "MaxDelaySeconds: A positive integer that sets the maximum value, in seconds, up to which a
    retry interval can increase"."""
    function = server.function(FUNCTION)
    retry = {
        "ErrorEquals": ["States.ALL"],
        "IntervalSeconds": 1,
        "BackoffRate": 5,
        "MaxDelaySeconds": 2,
        "MaxAttempts": 2,
    }
    states = {"Try": task(function, FAILS, Retry=[retry], **catch("States.ALL")), **CATCHING}
    found = run(server, states)
    assert found["status"] == "SUCCEEDED"
    assert 3 <= (found["stopDate"] - found["startDate"]).total_seconds() < 5


def test_full_jitter_spreads_retries(server: Server) -> None:
    """ "JitterStrategy … FULL": the wait is a random time between 0 and the interval. That all of
    10 waits were in the longest tenth happens once in 10^10 runs."""
    function = server.function(FUNCTION)
    retry = {
        "ErrorEquals": ["States.ALL"],
        "IntervalSeconds": 2,
        "MaxAttempts": 1,
        "JitterStrategy": "FULL",
    }
    states = {"Try": task(function, FAILS, Retry=[retry], **catch("States.ALL")), **CATCHING}
    arn = machine(server, states)
    started = [start(server, arn) for _ in range(10)]
    ended = [end(server, execution) for execution in started]
    assert {found["status"] for found in ended} == {"SUCCEEDED"}
    assert min((found["stopDate"] - found["startDate"]).total_seconds() for found in ended) < 1.8


# --- Parallel and Map ----------------------------------------------------------------------------


def test_parallel_has_arguments_output_and_variables(server: Server) -> None:
    """JSONata's fields of a Parallel state: "Arguments … used to pass information to the state
    machines that you define in each branch", Output and Assign of $states.result."""
    states = {
        "Both": {
            "Type": "Parallel",
            "Arguments": {"n": "{% $states.input.a + 1 %}"},
            "Branches": [
                {
                    "StartAt": "Double",
                    "States": {
                        "Double": {
                            "Type": "Pass",
                            "Output": "{% $states.input.n * 2 %}",
                            "Assign": {"inner": 1},
                            "End": True,
                        }
                    },
                },
                {"StartAt": "Same", "States": {"Same": {"Type": "Pass", "End": True}}},
            ],
            "Output": {"results": "{% $states.result %}"},
            "Assign": {"first": "{% $states.result[0] %}"},
            "Next": "Show",
        },
        "Show": {
            "Type": "Pass",
            "Output": {
                "input": "{% $states.input %}",
                "first": "{% $first %}",
                "inner": "{% $exists($inner) %}",
            },
            "End": True,
        },
    }
    found = run(server, states, {"a": 1})
    assert found["status"] == "SUCCEEDED"
    assert json.loads(found["output"]) == {
        "input": {"results": [4, {"n": 2}]},
        "first": 4,
        "inner": False,
    }


def test_a_failed_branch_stops_the_others(server: Server) -> None:
    """ "If any branch fails, because of an unhandled error or by transitioning to a Fail state,
    the entire Parallel state is considered to have failed and all the branches are stopped"."""
    branches: list[dict[str, Any]] = [
        {"StartAt": "Stop", "States": {"Stop": {"Type": "Fail", "Error": "Broken"}}},
        {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3, "End": True}}},
    ]
    states = {
        "Both": {"Type": "Parallel", "Branches": branches, "End": True, **catch("Broken")},
        **CATCHING,
    }
    found = run(server, states)
    assert json.loads(found["output"])["Error"] == "Broken"
    assert (found["stopDate"] - found["startDate"]).total_seconds() < 2


def test_map_takes_items_selector_concurrency_and_output(stack: Server) -> None:
    """The fields of an inline Map in JSONata, and the events of its iterations."""
    states = {
        "Each": {
            "Type": "Map",
            "Items": "{% $states.input.items %}",
            "ItemSelector": {
                "item": "{% $states.context.Map.Item.Value %}",
                "factor": "{% $states.input.factor %}",
            },
            "MaxConcurrency": "{% 2 %}",
            "ItemProcessor": {
                "StartAt": "Multiply",
                "States": {
                    "Multiply": {
                        "Type": "Pass",
                        "Output": "{% $states.input.item * $states.input.factor %}",
                        "End": True,
                    }
                },
            },
            "Output": {"sum": "{% $sum($states.result) %}"},
            "End": True,
        }
    }
    found = run(stack, states, {"items": [1, 2, 3], "factor": 5})
    assert json.loads(found["output"]) == {"sum": 30}
    kinds = [event["type"] for event in history(stack, found["executionArn"])]
    assert kinds.count("MapIterationSucceeded") == 3


def test_map_is_retried_and_caught(server: Server) -> None:
    """Map states "support Retry and Catch"; a failed iteration ends the others at once."""
    function = server.function(FUNCTION)
    each = {
        "Which": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.input = 1 %}", "Next": "Fail"}],
            "Default": "Wait",
        },
        "Fail": task(function, FAILS),
        "Wait": {"Type": "Wait", "Seconds": 4, "End": True},
    }
    states = {
        "Each": {
            "Type": "Map",
            "Items": [1, 2],
            "ItemProcessor": {"StartAt": "Which", "States": each},
            "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}],
            "End": True,
            **catch("States.ALL"),
        },
        **CATCHING,
    }
    found = run(server, states)
    assert found["status"] == "SUCCEEDED"
    assert 1 <= (found["stopDate"] - found["startDate"]).total_seconds() < 4


def test_distributed_map_takes_items_and_batches(server: Server) -> None:
    """ "Use the ItemBatcher field … to process a group of items in a single child workflow
    execution": {"BatchInput", "Items"}."""
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "Same",
        "States": {"Same": {"Type": "Pass", "End": True}},
    }
    states = {
        "Each": {
            "Type": "Map",
            "Items": "{% $states.input.items %}",
            "ItemBatcher": {"MaxItemsPerBatch": 2, "BatchInput": {"by": "{% 1 + 1 %}"}},
            "ItemProcessor": processor,
            "End": True,
        }
    }
    found = run(server, states, {"items": [1, 2, 3]})
    assert json.loads(found["output"]) == [
        {"Items": [1, 2], "BatchInput": {"by": 2}},
        {"Items": [3], "BatchInput": {"by": 2}},
    ]


# --- Data API ------------------------------------------------------------------------------------


def test_a_machine_calls_the_stacks_data_api(server: Server) -> None:
    """aws-sdk:rdsdata:executeStatement goes to the Data API of the stack, and its errors have the
    names of "the service … and the exception", as RdsData.HttpEndpointNotEnabledException."""
    states = {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:rdsdata:executeStatement",
            "Arguments": {
                "ResourceArn": "arn:aws:rds:us-east-1:000000000000:cluster:none",
                "SecretArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:none",
                "Sql": "SELECT 1",
            },
            "End": True,
            **catch("States.ALL"),
        },
        **CATCHING,
    }
    found = run(server, states)
    error = json.loads(found["output"])["Error"]
    assert error == "RdsData.HttpEndpointNotEnabledException"


# --- Starting ------------------------------------------------------------------------------------


def test_a_start_is_idempotent_while_it_runs(server: Server) -> None:
    """ "If you call StartExecution with the same name and input as a running execution, the call
    succeeds and returns the same response as the original request. If the execution is closed or
    if the input is different, it returns a 400 ExecutionAlreadyExists error"."""
    client = server.client("stepfunctions")
    arn = machine(server, {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}})
    given = {"stateMachineArn": arn, "name": "once"}
    first = client.start_execution(**given, input='{"a": 1}')
    again = client.start_execution(**given, input='{"a": 1}')
    assert (again["executionArn"], again["startDate"]) == (
        first["executionArn"],
        first["startDate"],
    )
    for stop, text in ((False, '{"a": 2}'), (True, '{"a": 1}')):
        if stop:
            client.stop_execution(executionArn=first["executionArn"])
        try:
            client.start_execution(**given, input=text)
        except client.exceptions.ExecutionAlreadyExists:
            continue
        raise AssertionError("another execution of that name was started")


def test_an_execution_starts_at_once(server: Server) -> None:
    """AWS starts a Standard execution within tens of milliseconds; so must the stack."""
    arn = machine(server, {"Same": {"Type": "Pass", "End": True}})
    ended = [end(server, start(server, arn)) for _ in range(9)]
    lasted = [(each["stopDate"] - each["startDate"]).total_seconds() for each in ended]
    assert statistics.median(lasted) < 0.1


def test_fifty_executions_run_side_by_side(stack: Server) -> None:
    """Executions do not wait for one another: 50 waits of a second take far less than 50."""
    arn = machine(stack, {"Wait": {"Type": "Wait", "Seconds": 1, "End": True}})
    started = [start(stack, arn) for _ in range(50)]
    ended = [end(stack, execution) for execution in started]
    assert {each["status"] for each in ended} == {"SUCCEEDED"}
    lasted = [(each["stopDate"] - each["startDate"]).total_seconds() for each in ended]
    assert max(lasted) < 5


def test_an_expression_has_its_second_to_itself(server: Server) -> None:
    """AWS limits the evaluation of an expression, not the wait for a processor: what takes a
    fraction of a second alone must not fail because 39 others are evaluated as well."""
    sums = "{% $sum($map([1..6000], function($n) { $n * 2 })) %}"
    add = {"Add": {"Type": "Pass", "Output": sums, "End": True}}
    states = {
        "Each": {
            "Type": "Map",
            "Items": "{% [1..40] %}",
            "ItemProcessor": {"StartAt": "Add", "States": add},
            "End": True,
        }
    }
    found = end(server, start(server, machine(server, states)), 60)
    assert found["status"] == "SUCCEEDED"


# --- Servers of their own ------------------------------------------------------------------------

BOTH = pytest.mark.parametrize(
    "module",
    [
        "localstack.server",
        pytest.param("ministack", marks=pytest.mark.xfail(strict=True)),
    ],
)


@contextmanager
def gateway(module: str, directory: Path, **environment: str) -> Iterator[Server]:
    """A server of this module with this environment."""
    server = Server(["-m", module], directory, {"BIND_HOST": "127.0.0.1", **environment})
    try:
        yield server
    finally:
        server.stop()


@BOTH
def test_an_execution_does_not_outlive_a_restart(module: str, tmp_path: Path) -> None:
    """AWS has no restart. Whoever waits for the end of an execution must get one, with an event."""
    state = {"PERSIST_STATE": "1", "STATE_DIR": str(tmp_path / "state")}
    with gateway(module, tmp_path / "before", **state) as server:
        queue = status_events(server)
        arn = machine(server, {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}})
        execution = start(server, arn)
    with gateway(module, tmp_path / "after", **state) as server:
        found = end(server, execution)
        assert found["status"] == "ABORTED"
        assert history(server, execution)[-1]["type"] == "ExecutionAborted"
        url = server.client("sqs").get_queue_url(QueueName=queue.rpartition("/")[2])["QueueUrl"]
        assert detail_of(server, url, execution)["status"] == "ABORTED"


@BOTH
def test_a_machine_calls_the_bedrock_stand_in(module: str, tmp_path: Path) -> None:
    """aws-sdk:bedrockruntime:converse goes where AWS_ENDPOINT_URL_BEDROCK_RUNTIME says, with
    "parameter names in Pascal case" on the machine's side."""
    asked: list[tuple[str, Any]] = []

    class StandIn(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body)))
            answer = {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}}
            text = json.dumps({**answer, "stopReason": "end_turn"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    stand_in = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    Thread(target=stand_in.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{stand_in.server_port}"
    message = {"Role": "user", "Content": [{"Text": "hello"}]}
    states = {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:bedrockruntime:converse",
            "Arguments": {"ModelId": "model", "Messages": [message]},
            "Output": "{% $states.result.Output.Message.Content[0].Text %}",
            "End": True,
        }
    }
    try:
        with gateway(module, tmp_path, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=url) as server:
            found = run(server, states)
    finally:
        stand_in.shutdown()
    assert found["status"] == "SUCCEEDED"
    assert json.loads(found["output"]) == "hi"
    sent = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    assert asked == [("/model/model/converse", sent)]


def test_time_in_expressions_is_the_time_of_day(stack: Server) -> None:
    """JSONata's `$millis()`: "the number of milliseconds since the Unix Epoch"."""
    before = time.time() * 1000
    states = {
        "Ask": {"Type": "Pass", "Output": "{% [$millis(), $toMillis($now())] %}", "End": True}
    }
    found = json.loads(run(stack, states)["output"])
    for milliseconds in found:
        assert before - 1 <= milliseconds <= time.time() * 1000


def test_tasks_in_a_map_wait_for_tokens_that_an_item_keeps(stack: Server) -> None:
    """ "For AWS SDK service integrations … Wait for a Callback with Task Token"; each iteration has
    a token of its own. A refused call is an error of the service, named as its SDK names it."""
    table = f"calls-{uuid.uuid4().hex[:8]}"
    dynamodb = stack.client("dynamodb")
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName=table, Item={"id": {"S": "decided"}, "decision": {"S": "no"}})
    wait = {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:dynamodb:updateItem.waitForTaskToken",
        "Arguments": {
            "TableName": table,
            "Key": {"id": {"S": "{% $states.input.id %}"}},
            "UpdateExpression": "SET task_token = :token",
            "ConditionExpression": "attribute_not_exists(decision)",
            "ExpressionAttributeValues": {":token": {"S": TOKEN}},
        },
        "TimeoutSeconds": "{% $states.input.seconds %}",
        "Output": "{% $states.input.id & ': ' & $states.result.said %}",
        "Catch": [
            {
                "ErrorEquals": ["States.ALL"],
                "Output": "{% $states.input.id & ': ' & $states.errorOutput.Error %}",
                "Next": "Caught",
            }
        ],
        "End": True,
    }
    processor = {"StartAt": "Wait", "States": {"Wait": wait, **CATCHING}}
    states = {
        "Each": {
            "Type": "Map",
            "Items": "{% $states.input.items %}",
            "MaxConcurrency": 8,
            "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, **processor},
            "End": True,
        }
    }
    items = [
        {"id": "one", "seconds": 60},
        {"id": "two", "seconds": 60},
        {"id": "late", "seconds": 1},
        {"id": "decided", "seconds": 60},
    ]
    execution = start(stack, machine(stack, states), {"items": items})

    def token(name: str) -> Any:
        item = dynamodb.get_item(TableName=table, Key={"id": {"S": name}}).get("Item", {})
        return item.get("task_token", {}).get("S")

    tokens = {name: wait_until(partial(token, name), 15) for name in ("one", "two")}
    assert tokens["one"] != tokens["two"]
    for name, given in tokens.items():
        stack.client("stepfunctions").send_task_success(
            taskToken=given, output=json.dumps({"said": f"yes, {name}"})
        )
    assert json.loads(end(stack, execution)["output"]) == [
        "one: yes, one",
        "two: yes, two",
        "late: States.Timeout",
        "decided: DynamoDb.ConditionalCheckFailedException",
    ]
