"""How a state runs: tasks with their limits, branches, iterations, retries and catches.

Replaces the part of MiniStack's engine that walks states; paths, JSONata, choices and service
integrations stay its own. "Developer Guide" below is AWS's for Step Functions.
"""

import copy
import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from jsonata.jexception import JException
from jsonata.timebox import Timebox
from ministack.services import stepfunctions as stock

from localstack.additions import step_functions_scope as scopes
from localstack.additions.seam import replace, require

Json = Any
State = dict[str, Any]
Context = dict[str, Any]
Execution = dict[str, Any]

PAYLOAD_BYTES = 262_144
HISTORY_EVENTS = 25_000
# "Inline mode … supports up to 40 concurrent iterations" (Developer Guide, Map state).
INLINE_ITERATIONS = 40
# "IntervalSeconds … 1 by default", "BackoffRate … 2.0 by default" (Error handling).
INTERVAL_SECONDS = 1
BACKOFF_RATE = 2.0
_UNTIL_THE_EXECUTION_ENDS = None
_THROTTLED = '"__type": "TooManyRequestsException"'

_closed_tokens: set[str] = set()


def encode(value: Json) -> str:
    """JSON as Step Functions stores and measures it: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def failure(error: str, cause: str = "") -> Exception:
    """MiniStack's exception for a failed state, which Retry and Catch understand."""
    error_: Exception = stock._ExecutionError(error, cause)
    return error_


def limited(value: Json, source: str) -> str:
    """The value as JSON text.

    Raises States.DataLimitExceeded over 256 KiB: "when the output of a connector / of a state is
    larger than payload size quota; when, after Parameters processing, the input of a state is".
    """
    text = encode(value)
    if len(text) * 4 > PAYLOAD_BYTES and len(text.encode()) > PAYLOAD_BYTES:
        raise failure(
            "States.DataLimitExceeded",
            f"The state/task '{source}' returned a result with a size exceeding the maximum "
            "number of bytes service limit.",
        )
    return text


def _record(execution: Execution, kind: str, field: str, **details: Json) -> None:
    stock._add_event(execution, kind, {f"{field}EventDetails": details})


# --- Retry and Catch -----------------------------------------------------------------------------


def error_matches(error_equals: list[str], error: str) -> bool:
    """Whether a retrier or catcher with these names matches the error (Error handling, names).

    "States.ALL … can't catch the States.DataLimitExceeded terminal error or Runtime error types";
    States.Runtime errors "aren't retriable, and will always cause the execution to fail";
    "States.TaskFailed acts as a wildcard that matches any known error name except for
    States.Timeout"; States.Timeout is also reported for a missing heartbeat.
    """
    if error == "States.Runtime":
        return False
    if error in error_equals:
        return True
    if error == "States.DataLimitExceeded":
        return False
    if error == "States.HeartbeatTimeout" and "States.Timeout" in error_equals:
        return True
    if "States.ALL" in error_equals:
        return True
    return "States.TaskFailed" in error_equals and error != "States.Timeout"


def retry_delay(retrier: State, retries: int) -> float:
    """Seconds before the next attempt, after so many retries (Error handling, Retry fields).

    "MaxDelaySeconds … sets the maximum value, in seconds, up to which a retry interval can
    increase"; "JitterStrategy … FULL": a random time between 0 and the interval.
    """
    interval = float(retrier.get("IntervalSeconds", INTERVAL_SECONDS))
    seconds = interval * float(retrier.get("BackoffRate", BACKOFF_RATE)) ** retries
    seconds = min(seconds, float(retrier.get("MaxDelaySeconds", seconds)))
    if retrier.get("JitterStrategy") == "FULL":
        return random.uniform(0, seconds)  # noqa: S311 - spreads retries, guards nothing
    return seconds


def with_retry_and_catch(
    state_def: State, raw_input: Json, ctx: Context, attempt: Callable[[], tuple[Json, str | None]]
) -> tuple[Json, str | None]:
    """The attempt's (output, next state) under the state's Retry and Catch."""
    entered = ctx["State"]
    counts: dict[int, int] = {}
    while True:
        ctx["State"] = {**entered, "RetryCount": sum(counts.values())}
        try:
            return attempt()
        except stock._ExecutionError as error:
            retrier, index = stock._find_matching_retrier(
                state_def.get("Retry", []), error.error, counts
            )
            if retrier is not None:
                retries = counts.get(index, 0)
                counts[index] = retries + 1
                scaled_sleep(retry_delay(retrier, retries))
                continue
            catcher = stock._find_matching_catcher(state_def.get("Catch", []), error.error)
            if catcher is None:
                raise
            shown = {"Error": error.error, "Cause": error.cause}
            language = stock._state_query_language(state_def, ctx)
            return stock._apply_catcher(catcher, raw_input, ctx, language, shown), catcher["Next"]


def scaled_sleep(seconds: float) -> None:
    """A wait of the machine's, cut short when its execution ends."""
    scopes.current().sleep(seconds * stock._SFN_WAIT_SCALE)


# --- Task ----------------------------------------------------------------------------------------


def check_runaway(self: Timebox) -> None:
    """JSONata's limits of depth and time; of time the thread's own work, not what others take.

    The clock of `$now()` and `$millis()` is another, and stays as it is.
    """
    if self.max_depth is not None and self.depth > self.max_depth:
        raise JException("D1011", -1)
    began = vars(self).setdefault("thread_began", time.thread_time())
    if self.timeout is not None and (time.thread_time() - began) * 1000 > self.timeout:
        raise JException("D1012", -1, self.timeout)


def _is_jsonata(state_def: State, ctx: Context) -> bool:
    return bool(stock._state_query_language(state_def, ctx) == "JSONata")


def _seconds(state_def: State, field: str, raw_input: Json, ctx: Context) -> float | None:
    """TimeoutSeconds or HeartbeatSeconds: a number, a JSONata expression, or at <field>Path."""
    if f"{field}Path" in state_def:
        value = stock._resolve_path_or_ctx(state_def[f"{field}Path"], raw_input, ctx)
    elif field not in state_def:
        return None
    elif _is_jsonata(state_def, ctx):
        value = stock._jsonata_state_field(state_def, field, "number", raw_input, ctx)
    else:
        value = state_def[field]
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise failure("States.Runtime", f"The value of {field} is not a positive number: {value}")
    return float(value)


def _arguments(state_def: State, raw_input: Json, ctx: Context) -> Json:
    if _is_jsonata(state_def, ctx):
        return stock._apply_jsonata_arguments(state_def, raw_input, ctx)
    effective = stock._apply_input_path(state_def, raw_input, ctx)
    return stock._apply_parameters(state_def, effective, ctx)


def _leave(
    state_def: State, raw_input: Json, result: Json, ctx: Context
) -> tuple[Json, str | None]:
    """(Output, next state) of a Task, Parallel or Map with this result, variables assigned."""
    if _is_jsonata(state_def, ctx):
        output = stock._apply_jsonata_output(
            state_def, raw_input, ctx, result=result, default=result
        )
        stock._apply_state_assign(state_def, raw_input, ctx, result=result)
    else:
        selected = stock._apply_result_selector(state_def, result)
        output = stock._apply_result_path(state_def, raw_input, selected)
        output = stock._apply_output_path(state_def, output, ctx)
    return output, stock._next_or_end(state_def)


def execute_task(
    state_def: State, raw_input: Json, execution: Execution, ctx: Context
) -> tuple[Json, str | None]:
    """(Output, next state) of a Task; each attempt has its own arguments, limits and token."""
    return with_retry_and_catch(
        state_def, raw_input, ctx, partial(_attempt_task, state_def, raw_input, execution, ctx)
    )


def _attempt_task(
    state_def: State, raw_input: Json, execution: Execution, ctx: Context
) -> tuple[Json, str | None]:
    resource = state_def["Resource"]
    waits = ".waitForTaskToken" in resource
    if waits:
        ctx["Task"] = {"Token": stock.new_uuid()}
    arguments = _arguments(state_def, raw_input, ctx)
    limit = _seconds(state_def, "TimeoutSeconds", raw_input, ctx)
    heartbeat = _seconds(state_def, "HeartbeatSeconds", raw_input, ctx)
    kind = {
        "resourceType": "lambda" if "lambda" in resource else "states",
        "resource": resource,
    }
    _record(
        execution,
        "TaskScheduled",
        "taskScheduled",
        **kind,
        region=stock.get_region(),
        parameters=limited(arguments, resource),
        **({"timeoutInSeconds": int(limit)} if limit else {}),
        **({"heartbeatInSeconds": int(heartbeat)} if heartbeat else {}),
    )
    _record(execution, "TaskStarted", "taskStarted", **kind)
    try:
        if waits:
            result = _call_back(resource, arguments, ctx["Task"]["Token"], limit, heartbeat)
        else:
            result = _call(resource, arguments, limit)
        output = limited(result, resource)
    except stock._ExecutionError as error:
        timed_out = error.error in ("States.Timeout", "States.HeartbeatTimeout")
        event = "TimedOut" if timed_out else "Failed"
        shown = {"cause": error.cause} if error.cause else {}
        _record(execution, f"Task{event}", f"task{event}", **kind, error=error.error, **shown)
        raise
    _record(execution, "TaskSucceeded", "taskSucceeded", **kind, output=output)
    return _leave(state_def, raw_input, result, ctx)


def _call(resource: str, arguments: Json, limit: float | None) -> Json:
    """The result of the task's resource; the resource itself is not stopped by a time-out."""
    work = partial(stock._invoke_resource, resource, arguments)
    try:
        return scopes.call(work, limit)
    except scopes.TimedOut:
        raise failure("States.Timeout") from None


def _call_back(
    resource: str, arguments: Json, token: str, limit: float | None, heartbeat: float | None
) -> Json:
    """What was sent for the token, after the resource was called.

    Fails with the resource's own error if the call fails (nobody would ever send the token), with
    States.Timeout, and with States.HeartbeatTimeout if the time between heartbeats is over.
    """
    started = time.monotonic()
    scope = scopes.current()
    with scope.wake() as wake:
        waiting: dict[str, Any] = {
            "event": wake,
            "result": None,
            "error": None,
            "heartbeat": None,
            "beat": started,
        }
        stock._task_tokens[token] = waiting
        try:
            _call(resource.replace(".waitForTaskToken", ""), arguments, limit)
            while not wake.is_set():
                bounds = [(started + limit, "States.Timeout")] if limit else []
                if heartbeat:
                    bounds.append((waiting["beat"] + heartbeat, "States.HeartbeatTimeout"))
                end, name = min(bounds, default=(_UNTIL_THE_EXECUTION_ENDS, ""))
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise failure(name)
                wake.wait(left)
        finally:
            stock._task_tokens.pop(token, None)
            _closed_tokens.add(token)
    scope.check()
    if waiting["error"]:
        raise failure(waiting["error"]["Error"], waiting["error"]["Cause"])
    return json.loads(waiting["result"] or "null")


def _refusal(data: Json) -> Json | None:
    """The answer for a token that no task waits for any more, as all three actions give it."""
    if data.get("taskToken") not in _closed_tokens:
        return None
    return stock.error_response_json(
        "TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'", 400
    )


def send_task_success(data: Json) -> Json:
    """SendTaskSuccess; an output that is no JSON is refused with InvalidOutput."""
    try:
        json.loads(data.get("output", ""))
    except ValueError as error:
        return stock.error_response_json("InvalidOutput", f"Invalid Output: '{error}'", 400)
    return _refusal(data) or _stock_success(data)


def send_task_failure(data: Json) -> Json:
    """SendTaskFailure."""
    return _refusal(data) or _stock_failure(data)


def send_task_heartbeat(data: Json) -> Json:
    """SendTaskHeartbeat: starts the time between heartbeats anew."""
    waiting = stock._task_tokens.get(data.get("taskToken"))
    if waiting is not None:
        waiting["beat"] = time.monotonic()
    return _refusal(data) or _stock_heartbeat(data)


def call_lambda(func_ref: str, event: Json) -> Json:
    """The function's answer; a throttled one fails with AWS's name for it.

    "When Lambda exceeds the maximum number of invocations, the reported error will be
    Lambda.TooManyRequestsException" (Error handling, Lambda.Unknown).
    """
    try:
        return _stock_call_lambda(func_ref, event)
    except stock._ExecutionError as error:
        if (
            error.error == "Lambda.Unknown"
            and '"__type": "TooManyRequestsException"' in error.cause
        ):
            raise failure(
                "Lambda.TooManyRequestsException", json.loads(error.cause)["message"]
            ) from None
        raise


# --- Parallel and Map ----------------------------------------------------------------------------


def _inner(ctx: Context) -> Context:
    """The context of a branch or iteration: it reads the outer variables, its own stay inside."""
    return copy.deepcopy(ctx)


def run_parallel_branches(
    state_def: State, raw_input: Json, execution: Execution, ctx: Context
) -> tuple[Json, str | None]:
    """(Output, next state) of one attempt at a Parallel state.

    "If any branch fails … the entire Parallel state is considered to have failed and all the
    branches are stopped" (Developer Guide, Parallel state).
    """
    arguments = _arguments(state_def, raw_input, ctx)
    limited(arguments, ctx["State"]["Name"])
    stock._add_event(execution, "ParallelStateStarted")
    results = scopes.side_by_side(
        [
            partial(
                run_sub_machine,
                branch["States"],
                branch["StartAt"],
                arguments,
                execution,
                _inner(ctx),
            )
            for branch in state_def["Branches"]
        ],
        limit=len(state_def["Branches"]),
    )
    stock._add_event(execution, "ParallelStateSucceeded")
    return _leave(state_def, raw_input, results, ctx)


def run_map_items(
    state_def: State, raw_input: Json, execution: Execution, ctx: Context
) -> tuple[Json, str | None]:
    """(Output, next state) of one attempt at a Map state; a failed iteration ends the others."""
    processor = state_def.get("ItemProcessor") or state_def["Iterator"]
    effective = stock._apply_input_path(state_def, raw_input, ctx)
    if (processor.get("ProcessorConfig") or {}).get("Mode") == "DISTRIBUTED":
        return _run_distributed_map(state_def, raw_input, effective, processor, execution, ctx)
    items = _items(state_def, raw_input, effective, ctx)
    limit = _concurrency(state_def, raw_input, ctx) or INLINE_ITERATIONS
    name = ctx["State"]["Name"]
    _record(execution, "MapStateStarted", "mapStateStarted", length=len(items))

    def iterate(index: int) -> Json:
        inner = _inner(ctx)
        inner["Map"] = {"Item": {"Index": index, "Value": items[index]}}
        value = _selected(state_def, raw_input, effective, items[index], inner)
        limited(value, name)
        stage = partial(_record, execution, name=name, index=index)
        stage("MapIterationStarted", "mapIterationStarted")
        try:
            result = run_sub_machine(
                processor["States"], processor["StartAt"], value, execution, inner
            )
        except stock._ExecutionError:
            stage("MapIterationFailed", "mapIterationFailed")
            raise
        stage("MapIterationSucceeded", "mapIterationSucceeded")
        return result

    results = scopes.side_by_side(
        [partial(iterate, index) for index in range(len(items))], min(limit, INLINE_ITERATIONS)
    )
    stock._add_event(execution, "MapStateSucceeded")
    return _leave(state_def, raw_input, results, ctx)


def _items(state_def: State, raw_input: Json, effective: Json, ctx: Context) -> list[Json]:
    if _is_jsonata(state_def, ctx):
        if "Items" in state_def:
            items = stock._jsonata_state_field(state_def, "Items", "array", raw_input, ctx)
        else:
            items = raw_input
    else:
        items = stock._resolve_path_or_ctx(state_def.get("ItemsPath", "$"), effective, ctx)
    if not isinstance(items, list):
        raise failure("States.Runtime", "The items of a Map state must be an array.")
    return items


def _selected(
    state_def: State, raw_input: Json, effective: Json, item: Json, inner: Context
) -> Json:
    """The input of one iteration: the item, or what ItemSelector makes of it."""
    selector = state_def.get("ItemSelector") or state_def.get("Parameters")
    if not selector:
        return item
    if _is_jsonata(state_def, inner):
        return stock._apply_jsonata_template(selector, raw_input, inner)
    return stock._resolve_params_obj(selector, effective, inner)


def _concurrency(state_def: State, raw_input: Json, ctx: Context) -> int:
    """MaxConcurrency; 0, the default, is "no limit"."""
    if "MaxConcurrency" in state_def and _is_jsonata(state_def, ctx):
        return int(
            stock._jsonata_state_field(state_def, "MaxConcurrency", "number", raw_input, ctx)
        )
    return int(state_def.get("MaxConcurrency", 0))


def _run_distributed_map(
    state_def: State,
    raw_input: Json,
    effective: Json,
    processor: State,
    execution: Execution,
    ctx: Context,
) -> tuple[Json, str | None]:
    """MiniStack's own Map Run, over items that are selected and batched beforehand."""
    if "ItemReader" in state_def:
        return _stock_distributed_map(state_def, raw_input, effective, processor, execution, ctx)
    ready = []
    for index, item in enumerate(_items(state_def, raw_input, effective, ctx)):
        inner = _inner(ctx)
        inner["Map"] = {"Item": {"Index": index, "Value": item}}
        ready.append(_selected(state_def, raw_input, effective, item, inner))
    if "ItemBatcher" in state_def:
        ready = _batches(state_def["ItemBatcher"], ready, raw_input, ctx)
    kept = ("Label", "ToleratedFailurePercentage", "ToleratedFailureCount")
    bare = {key: state_def[key] for key in kept if key in state_def}
    bare |= {"MaxConcurrency": _concurrency(state_def, raw_input, ctx), "End": True}
    results, _ = _stock_distributed_map(bare, ready, ready, processor, execution, ctx)
    return _leave(state_def, raw_input, results, ctx)


def _batches(batcher: State, items: list[Json], raw_input: Json, ctx: Context) -> list[Json]:
    """Items as {"Items": […], "BatchInput"?}, at most so many items and input bytes a batch."""
    common = {}
    if "BatchInput" in batcher:
        common["BatchInput"] = stock._apply_jsonata_template(batcher["BatchInput"], raw_input, ctx)
    most = int(batcher.get("MaxItemsPerBatch", len(items)) or len(items))
    most_bytes = int(batcher.get("MaxInputBytesPerBatch", PAYLOAD_BYTES))
    batches: list[list[Json]] = []
    for item in items:
        last = batches[-1] if batches else None
        if (
            last is None
            or len(last) == most
            or len(encode({"Items": [*last, item], **common}).encode()) > most_bytes
        ):
            batches.append([item])
        else:
            last.append(item)
    return [{"Items": batch, **common} for batch in batches]


# --- States --------------------------------------------------------------------------------------


def run_sub_machine(
    states: dict[str, State],
    start_at: str,
    input_data: Json,
    execution: Execution,
    ctx: Context,
) -> Json:
    """The output of a machine, a branch or an iteration, state by state.

    Raises MiniStack's error of the state that failed, or Ended when the execution has ended.
    """
    scope = scopes.current()
    name: str | None = start_at
    value = copy.deepcopy(input_data)
    while name:
        scope.check()
        if name not in states:
            raise failure("States.Runtime", f"State '{name}' not found in definition")
        state_def = states[name]
        kind = state_def["Type"]
        ctx["State"] = {"Name": name, "EnteredTime": stock.now_iso(), "RetryCount": 0}
        text = limited(value, name)
        _record(execution, f"{kind}StateEntered", "stateEntered", name=name, input=text)
        value, following = _run_state(kind, state_def, value, execution, ctx)
        text = limited(value, name)
        scope.check()
        _record(execution, f"{kind}StateExited", "stateExited", name=name, output=text)
        name = following
    return value


def _run_state(
    kind: str, state_def: State, value: Json, execution: Execution, ctx: Context
) -> tuple[Json, str | None]:
    if kind == "Fail":
        raise stock._ExecutionError(*stock._fail_state_error(state_def, value, ctx))
    if kind == "Succeed":
        if _is_jsonata(state_def, ctx):
            return stock._apply_jsonata_output(state_def, value, ctx, default=value), None
        value = stock._apply_input_path(state_def, value, ctx)
        return stock._apply_output_path(state_def, value, ctx), None
    if kind in ("Task", "Parallel", "Map"):
        execute = getattr(stock, f"_execute_{kind.lower()}")
        output, following = execute(state_def, value, execution, ctx)
    elif kind in ("Pass", "Choice", "Wait"):
        execute = getattr(stock, f"_execute_{kind.lower()}")
        output, following = execute(state_def, value, ctx)
    else:
        raise failure("States.Runtime", f"Unknown state type: {kind}")
    return output, following


_stock_success: Callable[[Json], Json]
_stock_failure: Callable[[Json], Json]
_stock_heartbeat: Callable[[Json], Json]
_stock_call_lambda: Callable[[str, Json], Json]
_stock_distributed_map: Callable[..., tuple[Json, str | None]]

_CALLED = {
    "_invoke_resource": ("resource", "input_data"),
    "_find_matching_retrier": ("retriers", "error", "retry_counts"),
    "_find_matching_catcher": ("catchers", "error"),
    "_apply_catcher": ("catcher", "raw_input", "ctx", "query_language", "error_output"),
    "_state_query_language": ("state_def", "ctx"),
    "_jsonata_state_field": ("state_def", "field", "expected", "raw_input", "ctx"),
    "_apply_jsonata_template": ("value", "raw_input", "ctx", "result", "error_output"),
    "_apply_jsonata_arguments": ("state_def", "raw_input", "ctx"),
    "_apply_jsonata_output": (
        "state_def",
        "raw_input",
        "ctx",
        "result",
        "error_output",
        "default",
    ),
    "_apply_state_assign": ("state_def", "raw_input", "ctx", "result", "error_output"),
    "_apply_input_path": ("state_def", "data", "ctx"),
    "_apply_output_path": ("state_def", "data", "ctx"),
    "_apply_parameters": ("state_def", "data", "ctx"),
    "_apply_result_selector": ("state_def", "data"),
    "_apply_result_path": ("state_def", "original", "result"),
    "_resolve_path_or_ctx": ("path", "data", "ctx"),
    "_resolve_params_obj": ("template", "data", "ctx"),
    "_fail_state_error": ("state_def", "raw_input", "ctx"),
    "_next_or_end": ("state_def",),
    "_execute_pass": ("state_def", "raw_input", "ctx"),
    "_execute_choice": ("state_def", "raw_input", "ctx"),
    "_execute_wait": ("state_def", "raw_input", "ctx"),
    "_execute_parallel": ("state_def", "raw_input", "execution", "ctx"),
    "_execute_map": ("state_def", "raw_input", "execution", "ctx"),
}


def install() -> None:
    """Replace how MiniStack runs states; called by step_functions."""
    global _stock_success, _stock_failure, _stock_heartbeat
    global _stock_call_lambda, _stock_distributed_map
    for name, parameters in _CALLED.items():
        require(stock, name, *parameters)
    _stock_distributed_map = require(
        stock,
        "_run_distributed_map",
        "state_def",
        "raw_input",
        "effective",
        "iterator",
        "execution",
        "ctx",
    )
    replace(Timebox, "check_runaway", check_runaway)
    _stock_success = replace(stock, "_send_task_success", send_task_success)
    _stock_failure = replace(stock, "_send_task_failure", send_task_failure)
    _stock_heartbeat = replace(stock, "_send_task_heartbeat", send_task_heartbeat)
    _stock_call_lambda = replace(stock, "_call_lambda", call_lambda)
    replace(stock, "_error_matches", error_matches)
    replace(stock, "_with_retry_and_catch", with_retry_and_catch)
    replace(stock, "_scaled_sleep", scaled_sleep)
    replace(stock, "_execute_task", execute_task)
    replace(stock, "_run_parallel_branches", run_parallel_branches)
    replace(stock, "_run_map_items", run_map_items)
    replace(stock, "_run_sub_machine", run_sub_machine)
