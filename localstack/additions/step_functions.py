"""Step Functions as AWS runs it: how executions start, end, and are told of.

MiniStack's own ignores a machine's time-out, lets an aborted execution go on, waits 150 ms before
each start and knows no limits. How a single state runs is in step_functions_states, what waits
for the end of an execution in step_functions_scope.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from ministack import app
from ministack.core.responses import (
    error_response_json,
    json_response,
    set_request_account_id,
    set_request_region,
)
from ministack.services import eventbridge
from ministack.services import stepfunctions as stock

from localstack.additions import step_functions_integrations as integrations
from localstack.additions import step_functions_scope as scopes
from localstack.additions import step_functions_states as states
from localstack.additions.seam import replace, require
from localstack.additions.step_functions_states import Execution, Json

_log = logging.getLogger("states")

# "If the combined escaped input and escaped output sent to EventBridge exceeds 248KB, then the
# input will be excluded. Similarly, if the escaped output exceeds 248KB" (EventBridge payloads).
EVENT_BYTES = 248 * 1024
REDRIVABLE = ("FAILED", "ABORTED", "TIMED_OUT")
_ENDS = {
    "SUCCEEDED": "ExecutionSucceeded",
    "FAILED": "ExecutionFailed",
    "ABORTED": "ExecutionAborted",
    "TIMED_OUT": "ExecutionTimedOut",
}

# Guards status and history of executions; never held while an event is delivered.
_lock = threading.RLock()
# Makes a name and its execution one step.
_starting = threading.RLock()
_scopes: dict[str, scopes.Scope] = {}
_ended_by_restart: list[tuple[str, str, Execution]] = []


# --- History and end -----------------------------------------------------------------------------


def add_event(execution: Execution, event_type: str, details: Json = None) -> Json:
    """Add to an execution's history.

    Raises Ended if the execution is over, whose history ends with its terminal event, and
    States.Runtime where only that event still fits into the 25,000 that AWS allows.
    """
    with _lock:
        if execution["status"] != "RUNNING":
            raise scopes.Ended
        if len(execution["events"]) >= states.HISTORY_EVENTS - 1:
            raise states.failure(
                "States.Runtime",
                "The execution reached the maximum number of history events "
                f"({states.HISTORY_EVENTS}).",
            )
        event = _stock_add_event(execution, event_type, details)
        event["previousEventId"] = event["id"] - 1
        return event


def finish(
    execution: Execution,
    status: str,
    *,
    output: str | None = None,
    error: str | None = None,
    cause: str | None = None,
) -> bool:
    """End a running execution, once: False if it has ended before, and then nothing changes."""
    given = {"output": output, "error": error, "cause": cause}
    details = {key: value for key, value in given.items() if value}
    with _lock:
        if execution["status"] != "RUNNING":
            return False
        kind = _ENDS[status]
        event = _stock_add_event(
            execution, kind, {f"{kind[0].lower()}{kind[1:]}EventDetails": details}
        )
        event["previousEventId"] = 0 if status in ("ABORTED", "TIMED_OUT") else event["id"] - 1
        if status == "TIMED_OUT":
            details = {}
        execution.update(details, stopDate=event["timestamp"], status=status)
        scope = _scopes.pop(execution["executionArn"], None)
    if scope is not None:
        scope.end()
    stock._emit_execution_status_event(execution)
    return True


def fail_execution(execution: Execution, error: str, cause: str) -> None:
    """End an execution as FAILED, unless it was aborted or timed out meanwhile."""
    finish(execution, "FAILED", error=error, cause=cause)


def emit_execution_status_event(execution: Execution) -> None:
    """Put "Step Functions Execution Status Change" on the default bus, for every status.

    The detail is DescribeExecution's answer with times in milliseconds and every field present
    (Developer Guide, "Automating Step Functions event delivery with EventBridge"). Nested
    executions that their parent waits for run as Express ones do, without events.
    """
    if execution.get("sync") or execution.get("mapRunArn"):
        return
    status = execution["status"]
    output = execution.get("output") if status == "SUCCEEDED" else None
    output_bytes = len(json.dumps(output))
    input_fits = len(json.dumps(execution["input"])) + output_bytes <= EVENT_BYTES
    output_fits = output_bytes <= EVENT_BYTES
    redrivable = status in REDRIVABLE
    detail = {
        "executionArn": execution["executionArn"],
        "stateMachineArn": execution["stateMachineArn"],
        "stateMachineVersionArn": None,
        "stateMachineAliasArn": None,
        "name": execution["name"],
        "status": status,
        "startDate": stock._iso_to_epoch_ms(execution["startDate"]),
        "stopDate": stock._iso_to_epoch_ms(execution["stopDate"]),
        "input": execution["input"] if input_fits else None,
        "inputDetails": {"included": input_fits},
        "output": output if output_fits else None,
        "outputDetails": None if output is None else {"included": output_fits},
        "error": execution.get("error"),
        "cause": execution.get("cause"),
        "redriveCount": 0,
        "redriveDate": None,
        "redriveStatus": "REDRIVABLE" if redrivable else "NOT_REDRIVABLE",
        "redriveStatusReason": None
        if redrivable
        else f"Execution is {status} and cannot be redriven",
    }
    entry = {
        "Source": "aws.states",
        "DetailType": "Step Functions Execution Status Change",
        "Detail": json.dumps(detail),
        "Resources": [execution["executionArn"]],
    }
    try:
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
    except Exception:  # noqa: BLE001 - "best effort" on AWS: never the execution's failure
        _log.exception("No status event for %s", execution["executionArn"])


# --- Start, run, stop ----------------------------------------------------------------------------


def start_execution(data: Json) -> Json:
    """StartExecution, idempotent.

    "If you call StartExecution with the same name and input as a running execution, the call
    succeeds and returns the same response as the original request. If the execution is closed or
    if the input is different, it returns a 400 ExecutionAlreadyExists error."
    """
    given = data.get("input", "{}")
    if len(given.encode()) > states.PAYLOAD_BYTES:
        return error_response_json(
            "ValidationException",
            "1 validation error detected: Value at 'input' failed to satisfy constraint: "
            f"Member must have length less than or equal to {states.PAYLOAD_BYTES}",
            400,
        )
    try:
        json.loads(given)
    except ValueError as error:
        return error_response_json(
            "InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'", 400
        )
    with _starting:
        machine = stock._state_machines.get(
            stock._resolve_state_machine_arn(data.get("stateMachineArn", "").partition("#")[0])
        )
        if machine is not None and data.get("name"):
            prefix = machine["stateMachineArn"].replace(":stateMachine:", ":execution:", 1)
            arn = f"{prefix}:{data['name']}"
            same = stock._executions.get(arn)
            if same is not None and same["status"] == "RUNNING" and same["input"] == given:
                return json_response({"executionArn": arn, "startDate": same["startDate"]})
        with scopes.within(None):
            return _stock_start_execution(data)


def stop_execution(data: Json) -> Json:
    """StopExecution: nothing of the execution goes on, and nothing later changes its end."""
    execution = stock._executions.get(data.get("executionArn"))
    if execution is not None and finish(
        execution, "ABORTED", error=data.get("error"), cause=data.get("cause")
    ):
        return json_response({"stopDate": execution["stopDate"]})
    return _stock_stop_execution(data)


def run_execution(exec_arn: str) -> None:
    """Walk a machine to its end, in the thread that StartExecution made for it."""
    execution = stock._executions[exec_arn]
    scope = scopes.part()
    with _lock:
        if execution["status"] != "RUNNING":
            return
        _scopes[exec_arn] = scope
    timer = None
    try:
        machine = stock._state_machines[execution["stateMachineArn"]]
        definition = json.loads(machine["definition"])
        timer = _time_out(execution, definition)
        with scopes.within(scope):
            output = states.run_sub_machine(
                definition["States"],
                definition["StartAt"],
                json.loads(execution["input"]),
                execution,
                _context(execution, machine, definition),
            )
        finish(execution, "SUCCEEDED", output=states.encode(output))
    except scopes.Ended:
        # Not by itself: the execution that waits for this nested one has ended.
        finish(execution, "ABORTED")
    except stock._ExecutionError as error:
        fail_execution(execution, error.error, error.cause)
    except Exception as error:  # noqa: BLE001 - whatever it is, the execution must end
        _log.exception("Execution %s", exec_arn)
        fail_execution(execution, "States.Runtime", str(error))
    finally:
        if timer is not None:
            timer.cancel()


def _context(execution: Execution, machine: Json, definition: Json) -> states.Context:
    """The context object, with what MiniStack's engine keeps in it besides."""
    return {
        "QueryLanguage": definition.get("QueryLanguage", "JSONPath"),
        "Execution": {
            "Id": execution["executionArn"],
            "Input": json.loads(execution["input"]),
            "Name": execution["name"],
            "RoleArn": machine.get("roleArn"),
            "StartTime": execution["startDate"],
        },
        "StateMachine": {"Id": execution["stateMachineArn"], "Name": machine["name"]},
        "variables": {},
    }


def _time_out(execution: Execution, definition: dict[str, Any]) -> threading.Timer | None:
    """A clock that ends the execution after the machine's TimeoutSeconds, whatever it is doing."""
    seconds = definition.get("TimeoutSeconds")
    if seconds is None:
        return None

    def expire() -> None:
        finish(execution, "TIMED_OUT", error="States.Timeout")

    timer = threading.Timer(seconds, copy_context().run, args=(expire,))
    timer.daemon = True
    timer.start()
    return timer


# --- Restart -------------------------------------------------------------------------------------


def restore_state(data: Json) -> None:
    """Load what was saved; executions that ran then are ABORTED now, with an event.

    AWS has no restarts. An execution cannot go on without its threads, and must not stay RUNNING.
    """
    for (account, region, _), execution in (data or {}).get("executions", {})._data.items():
        if execution["status"] != "RUNNING":
            continue
        details = {
            "error": "LocalStack.Stopped",
            "cause": "The local stack was stopped while the execution was running.",
        }
        event = _stock_add_event(
            execution, "ExecutionAborted", {"executionAbortedEventDetails": details}
        )
        execution.update(details, stopDate=event["timestamp"], status="ABORTED")
        _ended_by_restart.append((account, region, execution))
    _stock_restore_state(data)


async def run_ready_scripts() -> None:
    """Once the gateway answers, tell of the executions that the restart ended."""
    if _ended_by_restart:
        await app._wait_for_port(int(app._resolve_port()))
        await asyncio.to_thread(_tell_of_restart)
    await _stock_run_ready_scripts()


def _tell_of_restart() -> None:
    while _ended_by_restart:
        account, region, execution = _ended_by_restart.pop(0)
        set_request_account_id(account)
        set_request_region(region)
        emit_execution_status_event(execution)


_stock_add_event: Callable[..., Json]
_stock_start_execution: Callable[[Json], Json]
_stock_stop_execution: Callable[[Json], Json]
_stock_restore_state: Callable[[Json], None]
_stock_run_ready_scripts: Callable[[], Awaitable[None]]


def install() -> None:
    """Put these in the place of MiniStack's; raises SeamMissing if it is not as pinned."""
    global _stock_add_event, _stock_start_execution, _stock_stop_execution
    global _stock_restore_state, _stock_run_ready_scripts
    require(stock, "_resolve_state_machine_arn", "arn")
    require(stock, "_iso_to_epoch_ms", "iso")
    require(eventbridge, "_put_events", "data", "allow_aws_source")
    require(app, "_wait_for_port", "port", "timeout")
    require(app, "_resolve_port")
    states.install()
    integrations.install()
    _stock_add_event = replace(stock, "_add_event", add_event)
    _stock_start_execution = replace(stock, "_start_execution", start_execution)
    _stock_stop_execution = replace(stock, "_stop_execution", stop_execution)
    _stock_restore_state = replace(stock, "_restore_state", restore_state)
    _stock_run_ready_scripts = replace(app, "_run_ready_scripts", run_ready_scripts)
    replace(stock, "_fail_execution", fail_execution)
    replace(stock, "_emit_execution_status_event", emit_execution_status_event)
    replace(stock, "_run_execution", run_execution)
