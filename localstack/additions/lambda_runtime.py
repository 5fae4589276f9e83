"""Python Lambdas run by AWS's own runtime client, against MiniStack's Runtime API.

MiniStack's own Python worker calls every error `Runtime.HandlerError` and dies of it. Here a
worker is `python -m awslambdaric`, started by a `bootstrap` as on AWS, so errors keep their types
and stack traces, logging works as there, and a worker lives on after a handler's error.
"""

import fcntl
import functools
import hashlib
import io
import json
import os
import select
import shlex
import struct
import tempfile
import termios
import threading
import time
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.core.responses import new_uuid
from ministack.services import lambda_svc

from localstack.additions import lambda_concurrency
from localstack.additions.seam import replace, require

Json = dict[str, Any]


class Invocation(threading.local):
    """What one thread's running invocation leaves for its log: (milliseconds, line) each."""

    log_stream: str | None = None
    lines: list[tuple[int, str]] | None = None


invocation = Invocation()
_layers_lock = threading.Lock()


class RuntimeClientWorker(lambda_runtime.ProvidedWorker):  # type: ignore[misc]
    """One execution environment of a Python function."""

    def __init__(self, func_name: str, config: Json, code_zip: bytes) -> None:
        super().__init__(func_name, config, code_zip)
        self._output = _Output()
        self._log_stream = ""
        self._exit_status: int | None = None

    def invoke(self, event: Any, request_id: str, **context: Any) -> Json:
        """Run one invocation; a failed one has AWS's error object as `error_payload`."""
        invocation.log_stream, invocation.lines = self._log_stream, None
        try:
            result: Json = super().invoke(event, request_id, **context)
        except lambda_runtime.ProvidedInitTimeout:
            text = f"Task timed out after {self.config.get('Timeout', 3)}.00 seconds"
            result = _failed("Sandbox.Timedout", request_id, text)
        except RuntimeError as error:
            result = _failed("Runtime.ExitError", request_id, self._exit_text())
            if isinstance(self._init_error, dict):
                result = {"status": "error", "error": str(error)}
                result["error_payload"] = {**self._init_error, "requestId": request_id}
        else:
            payload = result.get("error_payload")
            if isinstance(payload, dict) and set(payload) == {"errorMessage", "errorType"}:
                # MiniStack's own words: AWS's name the request and how the process ended.
                died = payload["errorType"] == "Runtime.ExitError"
                text = self._exit_text() if died else payload["errorMessage"]
                result |= _failed(payload["errorType"], request_id, text)
        invocation.lines = self._output.take()
        result["log"] = "\n".join(line for _, line in invocation.lines)
        return result

    def _exit_text(self) -> str:
        status = self._exit_status or 0
        if status < 0:
            name = {-9: "killed", -15: "terminated"}.get(status, str(-status))
            return f"Runtime exited with error: signal: {name}"
        if status:
            return f"Runtime exited with error: exit status {status}"
        return "Runtime exited without providing a reason"

    def _spawn(self, init_timeout: float | None = None) -> None:
        self._log_stream = f"{time.strftime('%Y/%m/%d')}/[$LATEST]{new_uuid().replace('-', '')}"
        invocation.log_stream = self._log_stream
        self._exit_status = None
        try:
            super()._spawn(init_timeout)
        finally:
            lambda_concurrency.started()

    def _teardown(self) -> None:
        if self._proc is not None:
            self._exit_status = self._proc.poll()
        super()._teardown()

    def _discard_tmpdir(self) -> None:
        # Its process has ended; to close its server takes a tenth of a second, for each worker.
        threading.Thread(target=super()._discard_tmpdir, daemon=True).start()

    def _build_handler_class(self, generation: int, pending: Any) -> Any:
        stock = super()._build_handler_class(generation, _Patient(pending))

        def read_whole(handler: Any) -> bytes:
            """The body; a process that is killed while it sends its answer has not answered."""
            body: bytes = stock._read_body(handler)
            if len(body) < int(handler.headers.get("Content-Length", 0)):
                raise ConnectionResetError
            return body

        # Headers and body are two writes: with Nagle's algorithm the second waits 40 ms.
        return type(
            "RuntimeApi", (stock,), {"_read_body": read_whole, "disable_nagle_algorithm": True}
        )

    def _pump_output(self, stream: Any, log_queue: Any) -> None:
        del log_queue
        self._output.pump(stream)

    def _drain_stderr(self) -> str:
        return ""

    def _drain_stderr_bounded(self, *_: Any, **__: Any) -> str:
        """Nothing to wait for: what was written before the answer is in the pipe (see `take`)."""
        return ""


def _failed(error_type: str, request_id: str, text: str) -> Json:
    message = f"RequestId: {request_id} Error: {text}"
    payload = {"errorType": error_type, "errorMessage": message}
    return {"status": "error", "error": message, "error_payload": payload}


class _Patient:
    """A worker's next event, without looking for it ten times a second while there is none."""

    def __init__(self, pending: Any) -> None:
        self._pending = pending

    def get(self, timeout: float) -> Any:
        del timeout
        return self._pending.get(timeout=10)


class _Output:
    """The output of a worker's process, as lines with the time at which they came."""

    _MOST_LINES = 10_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[tuple[int, str]] = deque(maxlen=self._MOST_LINES)
        self._rest = b""
        self._pipe: int | None = None

    def pump(self, stream: Any) -> None:
        """Read until the process has closed its end, so that it never waits for a full pipe."""
        pipe = stream.fileno()
        with self._lock:
            self._pipe = pipe
        with stream:
            while True:
                _readable(pipe, None)
                with self._lock:
                    if not self._read_waiting(pipe):
                        self._pipe = None
                        break

    def _read_waiting(self, pipe: int) -> bool:
        """Read what is in the pipe, perhaps nothing; False at its end."""
        waiting = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0]
        data = os.read(pipe, waiting) if waiting else b""
        if not waiting and _readable(pipe, 0):
            data = os.read(pipe, 65536)
            if not data:
                return False
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        now = int(time.time() * 1000)
        self._lines.extend((now, line.decode("utf-8", "replace").rstrip("\r")) for line in lines)
        return True

    def take(self) -> list[tuple[int, str]]:
        """All lines so far, those still in the pipe included, without waiting."""
        with self._lock:
            if self._pipe is not None:
                self._read_waiting(self._pipe)
            if self._rest:
                self._lines.append((int(time.time() * 1000), self._rest.decode("utf-8", "replace")))
                self._rest = b""
            lines = [line for line in self._lines if line[1]]
            self._lines.clear()
        return lines


def _readable(pipe: int, milliseconds: int | None) -> bool:
    """Whether there is something to read, or the end. (Not `select`: it knows 1024 files only.)"""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _is_python(config: Json) -> bool:
    return str(config.get("Runtime", "")).startswith("python")


def _worker_class_for(config: Json) -> Any:
    return RuntimeClientWorker if _is_python(config) else _stock_worker_class_for(config)


def _execute_function_warm(func: Json, event: Any, request_id: str) -> Json:
    config = func.get("config") or func
    invocation.log_stream, invocation.lines = None, None
    if not _is_python(config):
        result: Json = _stock_execute_function_warm(func, event, request_id)
        return result
    answer: Json = lambda_svc._execute_function_provided_warm(func, event, request_id)
    return answer


def _provided_runtime_code_dir(code_zip: bytes) -> str:
    """The extracted code, once for each hash, with a bootstrap like the one of AWS's image."""
    code_dir: str = _stock_provided_runtime_code_dir(code_zip)
    bootstrap = Path(code_dir, "bootstrap")
    if not bootstrap.exists():
        # The last argument names the function, and this gateway, in the process list. Whatever the
        # workers do at once, the gateway that they all call goes first.
        python = shlex.quote(os.environ.get("LAMBDA_PYTHON", "python3"))
        written = bootstrap.with_name(f".bootstrap-{threading.get_ident()}")
        written.write_text(
            "#!/bin/sh\n"
            f'exec nice -n 5 {python} -B -m awslambdaric "$_HANDLER" '
            f'"ministack-lambda-$AWS_LAMBDA_FUNCTION_NAME-{os.environ["GATEWAY_PORT"]}-$$"\n',
            encoding="utf-8",
        )
        written.chmod(0o755)
        written.rename(bootstrap)
    return code_dir


@functools.lru_cache(maxsize=64)
def _digest(archive: bytes) -> bytes:
    """Computed once for each layer: an archive of bytes remembers its own hash as a key."""
    return hashlib.sha256(archive).digest()


def _opt_directory(config: Json) -> Path:
    """The function's layers, extracted in order into one directory, as AWS does into /opt."""
    zips = [lambda_svc._resolve_layer_zip(layer) or b"" for layer in config.get("Layers") or []]
    digest = hashlib.sha256(b"".join(map(_digest, zips))).hexdigest()
    opt = Path(tempfile.gettempdir(), f"lambda-opt-{os.environ['GATEWAY_PORT']}", digest)
    with _layers_lock:
        if not opt.exists():
            unfinished = opt.with_suffix(".unfinished")
            unfinished.mkdir(parents=True, exist_ok=True)
            for each in filter(None, zips):
                with zipfile.ZipFile(io.BytesIO(each)) as archive:
                    archive.extractall(unfinished)
            unfinished.rename(opt)
    return opt


def _provided_worker_env(config: Json, code_dir: str, port: int) -> Json:
    """A worker's whole environment: nothing of the shell that started the gateway."""
    if not _is_python(config):
        stock: Json = _stock_provided_worker_env(config, code_dir, port)
        return stock
    opt = _opt_directory(config)
    _, region = lambda_svc._account_region_from_function_config(config)
    logging = config.get("LoggingConfig") or {}
    name = config.get("FunctionName", "")
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        # The local names have no host prefix to resolve.
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        **lambda_svc._runtime_env_vars(config),
        **lambda_runtime.execution_credentials(config),
        "_HANDLER": config.get("Handler", ""),
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": logging.get("LogGroup") or f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": invocation.log_stream or "",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "LAMBDA_TASK_ROOT": code_dir,
        "LANG": "en_US.UTF-8",
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(
            [str(opt / "python/lib/python3.12/site-packages"), str(opt / "python")]
        ),
        "PYTHONUTF8": "1",
        "TMPDIR": tempfile.gettempdir(),
        "TZ": ":UTC",
    }
    if logging.get("LogFormat") == "JSON":
        environment["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        environment["AWS_LAMBDA_LOG_LEVEL"] = logging.get("ApplicationLogLevel", "INFO")
    # In fault runs AWS is reached by way of proxies (localstack/faults.py).
    faults = Path(os.environ.get("FAULTS_FILE", "/nonexistent"))
    if faults.exists():
        environment |= json.loads(faults.read_text(encoding="utf-8"))
        skew = Path(__file__).parent.with_name("skew")
        environment["PYTHONPATH"] = os.pathsep.join([str(skew), environment["PYTHONPATH"]])
    return environment


def install() -> None:
    """Let Python functions run by AWS's runtime client. Fails if what it replaces has moved."""
    global _stock_worker_class_for, _stock_execute_function_warm
    global _stock_provided_runtime_code_dir, _stock_provided_worker_env
    require(lambda_svc, "_execute_function_provided_warm", "func", "event", "request_id")
    require(lambda_svc, "_resolve_layer_zip", "attachment")
    require(lambda_svc, "_runtime_env_vars", "config")
    require(lambda_runtime, "execution_credentials", "config")
    worker = lambda_runtime.ProvidedWorker
    require(worker, "_build_handler_class", "self", "generation", "pending")
    require(worker, "_pump_output", "self", "stream", "log_queue")
    require(worker, "_spawn", "self", "init_timeout")
    require(worker, "_teardown", "self")
    require(worker, "invoke", "self", "event", "request_id", "trace_id", "invoked_function_arn")
    _stock_worker_class_for = replace(lambda_runtime, "_worker_class_for", _worker_class_for)
    _stock_execute_function_warm = replace(
        lambda_svc, "_execute_function_warm", _execute_function_warm
    )
    _stock_provided_runtime_code_dir = replace(
        lambda_svc, "_provided_runtime_code_dir", _provided_runtime_code_dir
    )
    _stock_provided_worker_env = replace(lambda_svc, "_provided_worker_env", _provided_worker_env)


_stock_worker_class_for: Any
_stock_execute_function_warm: Any
_stock_provided_runtime_code_dir: Any
_stock_provided_worker_env: Any
