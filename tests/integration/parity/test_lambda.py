"""Lambda's runtime: error types, exits, time-outs, logs, layers, workers side by side.

Quoted: https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html,
https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html,
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html,
https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html.
"""

import base64
import itertools
import json
import os
import signal
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.integration.parity.gateway import Server, archive, wait_until, workers


def invoke(server: Server, function: str, event: Any = None, **options: Any) -> tuple[Any, Any]:
    """The payload of the answer, and the answer."""
    answer = server.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps(event), **options
    )
    return json.loads(answer["Payload"].read() or b"null"), answer


def test_error_keeps_its_type_and_stack_trace_when_handler_raises(server: Server) -> None:
    """ "the runtime ... returns ... errorMessage, errorType, requestId, and stackTrace" """
    function = server.function(
        """
        class RetryLater(Exception):
            pass

        def handler(event, context):
            raise RetryLater("in a while")
        """
    )
    error, answer = invoke(server, function)
    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "RetryLater"
    assert error["errorMessage"] == "in a while"
    assert any('raise RetryLater("in a while")' in line for line in error["stackTrace"])


def test_worker_lives_on_when_handler_raises(server: Server) -> None:
    """ "Lambda ... reuses the execution environment" after an error of the function's own."""
    function = server.function(
        """
        import os
        calls = []

        def handler(event, context):
            calls.append(event)
            if event == "fail":
                raise ValueError(event)
            return [os.getpid(), calls]
        """
    )
    process, _ = invoke(server, function, "first")[0]
    invoke(server, function, "fail")
    assert invoke(server, function, "last")[0] == [process, ["first", "fail", "last"]]


def test_init_error_keeps_its_type_when_module_is_missing(server: Server) -> None:
    """ "Runtime.ImportModuleError: Unable to import module" """
    function = server.function("import not_there\n\ndef handler(event, context):\n    pass\n")
    error, answer = invoke(server, function)
    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'not_there'" in error["errorMessage"]


def test_init_error_keeps_its_type_when_module_raises(server: Server) -> None:
    function = server.function(
        'raise KeyError("TABLE")\n\ndef handler(event, context):\n    pass\n'
    )
    for _ in range(2):
        error, _ = invoke(server, function)
        assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'TABLE'")


def test_exit_error_when_worker_is_killed(server: Server) -> None:
    """ "Runtime.ExitError ... RequestId: ... Error: Runtime exited with error: signal: killed" """
    function = server.function(
        """
        import os, signal

        def handler(event, context):
            if event == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            return "alive"
        """
    )
    error, _ = invoke(server, function, "die")
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
    assert error["errorMessage"].startswith("RequestId: ")
    assert invoke(server, function)[0] == "alive"


def test_exit_error_when_worker_is_killed_while_it_answers(stack: Server) -> None:
    """An answer that is cut off is none."""
    function = stack.function(
        """
        import os, signal, socket

        def handler(event, context):
            api = os.environ["AWS_LAMBDA_RUNTIME_API"]
            host, port = api.split(":")
            with socket.create_connection((host, int(port))) as connection:
                path = f"/2018-06-01/runtime/invocation/{context.aws_request_id}/response"
                head = [f"POST {path} HTTP/1.1", f"Host: {api}", "Content-Length: 9", ""]
                connection.sendall("\\r\\n".join([*head, '"cut']).encode())
                os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    error, _ = invoke(stack, function)
    assert error["errorType"] == "Runtime.ExitError"


def test_worker_is_found_by_its_function_when_test_kills_it(server: Server, tmp_path: Path) -> None:
    function = server.function(
        """
        import pathlib, time

        def handler(event, context):
            pathlib.Path(event).touch()
            time.sleep(30)
        """,
        Timeout=60,
    )
    begun = tmp_path / "begun"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(invoke, server, function, str(begun))
        assert wait_until(begun.exists)
        [process] = workers(function)
        os.kill(process, signal.SIGKILL)
        error, _ = call.result(timeout=20)
    assert error["errorType"] == "Runtime.ExitError"


def test_timed_out_when_handler_takes_too_long(server: Server) -> None:
    """ "Sandbox.Timedout ... Task timed out after 1.00 seconds" """
    function = server.function(
        "import time\n\ndef handler(event, context):\n    time.sleep(event)\n    return 'done'\n",
        Timeout=1,
    )
    error, _ = invoke(server, function, 20)
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].startswith("RequestId: ")
    assert error["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    assert invoke(server, function, 0)[0] == "done"


def test_timed_out_when_init_takes_too_long(stack: Server) -> None:
    """The init phase is tried again "with the configured function timeout"."""
    function = stack.function(
        "import time\ntime.sleep(60)\n\ndef handler(event, context):\n    pass\n", Timeout=1
    )
    error, _ = invoke(stack, function)
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].count("RequestId: ") == 1


def test_exit_error_when_module_ends_the_process(stack: Server) -> None:
    """ "Runtime exited with error: exit status 7" """
    function = stack.function("import os\nos._exit(7)\n")
    error, _ = invoke(stack, function)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("Error: Runtime exited with error: exit status 7")


def test_root_logger_writes_when_handler_logs(server: Server) -> None:
    """ "The Lambda runtime ... configures the root logger with a handler": level, time, request."""
    function = server.function(
        """
        import logging

        def handler(event, context):
            logging.getLogger("any").warning("seen %s", event)
            return context.aws_request_id
        """
    )
    request_id, answer = invoke(server, function, "here", LogType="Tail")
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert f"\t{request_id}\tseen here" in tail
    assert tail.startswith("[WARNING]\t")
    assert any("seen here" in line for line in server.lines(function))


def test_streams_are_of_environments_when_function_is_called_often(server: Server) -> None:
    """ "Each log stream ... corresponds to one instance of your function" """
    function = server.function(
        "def handler(event, context):\n    print(event)\n    return context.log_stream_name\n"
    )
    names = {invoke(server, function, number)[0] for number in range(5)}
    streams = server.client("logs").describe_log_streams(logGroupName=f"/aws/lambda/{function}")
    assert {stream["logStreamName"] for stream in streams["logStreams"]} == names
    assert len(names) == 1
    lines = server.lines(function)
    assert [line for line in lines if line.isdigit()] == ["0", "1", "2", "3", "4"]
    assert sum(line.startswith("REPORT RequestId:") for line in lines) == 5


def test_environment_is_its_own_when_shell_has_more(server: Server) -> None:
    """ "Lambda sets environment variables" of its own; there is no shell to inherit from."""
    function = server.function(
        "import os\n\ndef handler(event, context):\n    return dict(os.environ)\n",
        Environment={"Variables": {"ENVIRONMENT": "local"}},
    )
    environment, _ = invoke(server, function)
    assert environment["ENVIRONMENT"] == "local"
    assert environment["AWS_ENDPOINT_URL"] == server.url
    assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.12"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == function
    assert environment["TZ"] == ":UTC"
    assert not {"GATEWAY_PORT", "LAMBDA_PYTHON", "BIND_HOST"} & set(environment)


def test_later_layer_and_own_code_win_when_names_collide(stack: Server) -> None:
    """ "Lambda extracts the layer contents into /opt ... in the order that you list" them."""
    client = stack.client("lambda")
    layers = [
        client.publish_layer_version(
            LayerName=f"parity-{number}",
            Content={
                "ZipFile": archive(
                    {
                        "python/both.py": f"LAYER = {number}",
                        f"python/only_{number}.py": "",
                        "python/functions_probe_own.py": "LAYER = 'layer'",
                    }
                )
            },
        )["LayerVersionArn"]
        for number in (1, 2)
    ]
    code = {
        "functions/probe/handler.py": "import both, only_1, only_2, functions_probe_own as own\n"
        "def handler(event, context):\n    return [both.LAYER, own.LAYER]\n",
        "functions_probe_own.py": "LAYER = 'code'",
    }
    function = stack.function("", Layers=layers, Code={"ZipFile": archive(code)})
    assert invoke(stack, function)[0] == [2, "code"]


def test_calls_run_side_by_side_when_more_than_the_workers(server: Server) -> None:
    """Of twenty calls eight run at a time at most: each has a worker, the others wait for one."""
    function = server.function(
        """
        import os, time

        def handler(event, context):
            began = time.time()
            time.sleep(0.2)
            return [os.getpid(), began, time.time()]
        """
    )
    with ThreadPoolExecutor(20) as pool:
        runs = [run for run, _ in pool.map(lambda _: invoke(server, function), range(20))]
    processes = {process for process, _, _ in runs}
    assert 1 < len(processes) <= 8
    for process in processes:
        own = sorted((began, ended) for each, began, ended in runs if each == process)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(own))


def test_calls_run_side_by_side_when_they_last(stack: Server) -> None:
    """ "Lambda ... scales up ... until it reaches your account's concurrency limit" """
    function = stack.function(
        """
        import time

        def handler(event, context):
            began = time.time()
            time.sleep(6)
            return [began, time.time()]
        """,
        Timeout=60,
    )
    with ThreadPoolExecutor(20) as pool:
        runs = [run for run, _ in pool.map(lambda _: invoke(stack, function), range(20))]
    assert max(began for began, _ in runs) < min(ended for _, ended in runs)


def test_workers_start_one_a_core_when_many_calls_come(stack: Server) -> None:
    """Not AWS's: more at once would all be ready later."""
    function = stack.function(
        """
        import time

        began = time.time()
        time.sleep(0.3)
        ready = time.time()

        def handler(event, context):
            time.sleep(2)
            return [began, ready]
        """
    )
    with ThreadPoolExecutor(8) as pool:
        runs = [run for run, _ in pool.map(lambda _: invoke(stack, function), range(8))]
    starts = {(began, ready) for began, ready in runs}
    assert len(starts) > 2
    at_once = [sum(began <= moment < ready for began, ready in starts) for moment, _ in starts]
    assert max(at_once) <= (os.cpu_count() or 1)


def test_warm_call_is_quick_when_handler_is_silent(server: Server) -> None:
    """Nothing waits for a fixed time: MiniStack waits 50 ms for lines of a silent handler."""
    function = server.function("def handler(event, context):\n    return event\n")
    client = server.client("lambda")
    times = []
    for _ in range(30):
        began = time.perf_counter()
        client.invoke(FunctionName=function, Payload=b"1")["Payload"].read()
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.03


def test_all_lines_are_logged_when_handler_writes_many(stack: Server) -> None:
    function = stack.function(
        """
        def handler(event, context):
            for number in range(3000):
                print(number, "x" * 50)
        """
    )
    invoke(stack, function)
    written = [line for line in stack.lines(function) if line.endswith("x")]
    assert [int(line.split()[0]) for line in written] == list(range(3000))


def test_event_is_retried_and_goes_to_the_destination_when_it_keeps_failing(stack: Server) -> None:
    """ "Lambda retries function errors twice" and sends what failed to the destination."""
    queue = stack.client("sqs").create_queue(QueueName="failed-events")["QueueUrl"]
    function = stack.function(
        'def handler(event, context):\n    print("attempt")\n    raise ValueError(event)\n'
    )
    client = stack.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=function,
        MaximumRetryAttempts=1,
        DestinationConfig={
            "OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:failed-events"}
        },
    )
    answer = client.invoke(FunctionName=function, InvocationType="Event", Payload=b'"once"')
    assert answer["StatusCode"] == 202
    received = stack.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=20)
    record = json.loads(received["Messages"][0]["Body"])
    assert record["requestPayload"] == "once"
    assert record["responsePayload"]["errorType"] == "ValueError"
    assert stack.lines(function).count("attempt") == 2


def test_no_worker_stays_when_server_ends(tmp_path: Path) -> None:
    server = Server(["-m", "localstack.server"], tmp_path, {})
    try:
        function = server.function("def handler(event, context):\n    return event\n")
        threads = [
            threading.Thread(target=invoke, args=(server, function, number)) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert workers(function)
    finally:
        server.stop()
    assert workers(function) == []
