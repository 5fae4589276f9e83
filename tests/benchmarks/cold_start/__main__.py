"""Cold starts of functions as ratios to the first sketch's, measured in turn in one run.

    python -m tests.benchmarks.cold_start [rounds]

A cold start is a fresh process, from its start to its first answer: interpreter, imports, clients
and the requests to the stores and the model that it takes, which a local server answers. The answer
of `chatbots` is a chatbot, of `chat_stream` the first frame that it stores. The functions run from
the zips that are deployed; the sketch from its packages, byte-compiled alike.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from chatbot.settings import Settings
from layers.build import ROOT, build, host_architecture
from tests.benchmarks.cold_start import stores

HERE = Path(__file__).parent
SKETCH = "sketch"
TARGETS = {"chatbots": 0.45, "chat_stream": 0.35}
ROUNDS = 15

_GET_CHATBOT = (
    "/api/v1/workspaces/0190aaaa-0000-7000-8000-00000000000a/chatbots/" + stores.CHATBOT_ID
)


def request(path: str) -> dict[str, object]:
    """A GET of API Gateway, payload 2.0, with a principal."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"accept": "application/json"},
        "isBase64Encoded": False,
        "requestContext": {
            "http": {"method": "GET", "path": path, "sourceIp": "127.0.0.1"},
            "authorizer": {
                "lambda": {"user_id": "0190eeee-0000-7000-8000-00000000000e", "token_version": 1}
            },
            "stage": "$default",
            "requestId": "cold",
            "timeEpoch": 1_790_000_000_000,
        },
    }


EVENTS: dict[str, dict[str, object]] = {
    SKETCH: request(f"/api/v1/chatbots/{stores.CHATBOT_ID}"),
    "chatbots": request(_GET_CHATBOT),
    "chat_stream": {"message_id": stores.MESSAGE_ID, "request_id": "cold", "round": 1},
}


def unpack(folder: Path) -> dict[str, list[Path]]:
    """Lay out what each probe imports, as Lambda would; returns its import path."""
    arch = host_architecture()
    build(arch, ROOT / ".build")
    zips = ROOT / ".build" / arch
    for layer in ("dependencies", "shared"):
        with zipfile.ZipFile(zips / f"layers/{layer}.zip") as packed:
            packed.extractall(folder / layer)
    paths = {}
    for name in TARGETS:
        with zipfile.ZipFile(zips / f"functions/{name}.zip") as packed:
            packed.extractall(folder / name)
        paths[name] = [folder / name, folder / "shared/python", folder / "dependencies/python"]
    paths[SKETCH] = [_install_sketch(folder)]
    return paths


def _install_sketch(folder: Path) -> Path:
    target = folder / SKETCH
    uv = str(Path(sys.executable).with_name("uv"))
    listed = subprocess.run(
        [uv, "export", "--quiet", "--frozen", "--only-group", "bench", "--no-emit-project"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    requirements = folder / "requirements.txt"
    requirements.write_text(listed, encoding="utf-8")
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target),
         "--requirement", str(requirements)],
        check=True,
    )  # fmt: skip
    (target / "sketch.py").write_bytes((HERE / "sketch.py").read_bytes())
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
         str(target)],
        check=True,
    )  # fmt: skip
    return target


def environment(url: str) -> dict[str, str]:
    """The variables of a function, with every AWS service at `url`."""
    values: dict[Any, str] = {bool: "false", int: "10", str: "arn:aws:cold:start"}
    kinds = Settings.__annotations__
    return {
        **{name.upper(): values.get(kind, "one") for name, kind in kinds.items()},
        "GUARDS_TABLE": "guards",
        "TURNS_TABLE": "turns",
        "CONVERSATIONS_TABLE": "conversations",
        "BEDROCK_MODEL_IDS": str(stores.CHATBOT["model_id"]),
        "BEDROCK_INFERENCE_PROFILES": "",
        "WEBSOCKET_CALLBACK_URL": url,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "cold",
        "AWS_SECRET_ACCESS_KEY": "cold",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def cold_start(name: str, path: list[Path], variables: dict[str, str]) -> float:
    """Milliseconds from the start of a process to its answer."""
    module = "sketch" if name == SKETCH else f"functions.{name}.handler"
    python = getattr(sys, "_base_executable", sys.executable)
    started = time.perf_counter()
    with subprocess.Popen(
        [python, "-S", str(HERE / "probe.py"), module, json.dumps(EVENTS[name])],
        env={**variables, "PYTHONPATH": os.pathsep.join(map(str, path))},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
        answered = time.perf_counter()
    if name == "chat_stream":  # its answer is the first frame that it stores
        answered, answer = stores.frames_stored_at.pop(0), "200"
        stores.frames_stored_at.clear()
    if process.returncode or answer != "200":
        sys.exit(f"{name} answered {answer!r}")
    return (answered - started) * 1000


def main(rounds: int = ROUNDS) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, stores.serve() as url:
        paths = unpack(Path(folder))
        variables = environment(url)
        times: dict[str, list[float]] = {name: [] for name in paths}
        for name in paths:
            cold_start(name, paths[name], variables)  # fills the file system's cache
        for _ in range(rounds):
            for name, path in paths.items():
                times[name].append(cold_start(name, path, variables))
        stores.statements.clear()
        cold_start("chatbots", paths["chatbots"], variables)
        round_trips = len(stores.statements)
    baseline = statistics.median(times[SKETCH])
    print(f"cold start, medians of {rounds}: {SKETCH} {baseline:.0f} ms")
    for name, target in TARGETS.items():
        median = statistics.median(times[name])
        print(f"  {name} {median:.0f} ms, ratio {median / baseline:.2f} (target {target})")
    print(f"round trips to PostgreSQL for a request: {round_trips}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
