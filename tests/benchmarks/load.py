"""Many clients at once: `make load`. Asserts that nothing is lost or doubled, and prints figures.

So many sockets are open; of them so many have a turn under way at any time, and beside them REST
requests come at a fixed rate. Users and workspaces are as many as production's limits of one user
ask for. In the end every conversation is read back: what was said is stored once, every answer as
its one final frame told it. The memory of the stack's processes is looked at once all sockets are
open: from then on it may not grow, but for the gateway by what it stores: DynamoDB is there.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.e2e.client import FINAL, Tenant, sign_up
from tests.e2e.conftest import read_outputs

TURNS_PER_USER = 10  # 240 chat messages a minute are a user's limit
GIVES_UP = 120  # seconds: twice what a turn may take at the worst
ASKS_AGAIN = 30  # seconds: longer than API Gateway waits for the function
REST_TIMEOUT = 60
READS = ("/users/me", "{path}", "{path}/chatbots", "{path}/conversations", "{path}/usage")
SAMPLE_SECONDS = 2
GROWTH = 1.1
STORED_KB = 500  # a turn's frames, messages, execution history, logs and metrics, in the gateway
PROCESSES = ("workers", "gateway", "bedrock", "postgres")


@dataclass
class Figures:
    """What was measured; times are in seconds."""

    first_frames: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    most_under_way: int = 0
    memory: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Conversation:
    """What one socket said and heard: the user's words, and the final frame of each answer."""

    tenant: Tenant
    id: str | None = None
    said: list[str] = field(default_factory=list)
    finals: dict[str, dict[str, Any]] = field(default_factory=dict)


async def talk(
    conversation: Conversation, socket: ClientConnection, words: str, figures: Figures
) -> None:
    """One turn, from `chat` to its final frame. Its frames have no gap, and only one is final."""
    content, mark = f"{uuid4().hex} {words}", str(uuid4())
    frame = {
        "type": "chat",
        "chatbot_id": conversation.tenant.chatbot_id,
        "content": content,
        "client_message_id": mark,
    }
    if conversation.id is not None:
        frame["conversation_id"] = conversation.id
    asked = time.monotonic()
    ack = await _acknowledged(socket, frame, figures)
    if ack is None:
        return
    conversation.id = ack["conversation_id"]
    conversation.said.append(content)
    texts: dict[int, str] = {}
    while True:
        got = await _next(
            socket, lambda f: (f["type"], f.get("message_id")) == ("assistant", ack["message_id"])
        )
        if not texts and got["status"] == "streaming":
            figures.first_frames.append(time.monotonic() - asked)
        if got["status"] in FINAL:
            break
        assert texts.setdefault(got["seq"], got["content"]) == got["content"]
    assert [*range(1, got["seq"])] == sorted(texts)
    assert "".join(texts[seq] for seq in sorted(texts)) == got["content"]
    conversation.finals[got["message_id"]] = got
    figures.turns.append(time.monotonic() - asked)
    figures.outcomes[got["status"]] += 1


async def _acknowledged(
    socket: ClientConnection, frame: dict[str, Any], figures: Figures
) -> dict[str, Any] | None:
    """The `ack` of a chat frame, None if it is refused. Where nobody knows, it is sent again."""
    mark, deadline = frame["client_message_id"], time.monotonic() + GIVES_UP
    while time.monotonic() < deadline:
        await socket.send(json.dumps(frame))
        with suppress(TimeoutError):
            answer = await _next(socket, lambda f: f.get("client_message_id") == mark, ASKS_AGAIN)
            if answer["type"] == "ack":
                return answer
            figures.errors[answer["code"]] += 1
            await asyncio.sleep(1)
            if answer["code"] != "internal":
                return None
            continue
        figures.errors["no ack"] += 1
    raise TimeoutError


async def _next(socket: ClientConnection, wanted: Any, seconds: float = GIVES_UP) -> dict[str, Any]:
    """The next frame that is wanted. API Gateway's own messages, which have no type, are not."""
    async with asyncio.timeout(seconds):
        while True:
            frame: dict[str, Any] = json.loads(await socket.recv())
            if "type" in frame and wanted(frame):
                return frame


async def _connected(address: str, figures: Figures) -> ClientConnection:
    """An open socket. As any client, it comes again where the gateway could not take it."""
    deadline = time.monotonic() + GIVES_UP
    while True:
        try:
            # The stand-in answers no pings of the protocol while it is busy.
            return await connect(address, open_timeout=GIVES_UP, ping_interval=None)
        except InvalidHandshake as refusal:
            status = refusal.response.status_code if isinstance(refusal, InvalidStatus) else "none"
            figures.errors[f"handshake {status}"] += 1
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1)


async def client(
    conversation: Conversation,
    delay: float,
    places: asyncio.Semaphore,
    end: float,
    words: str,
    figures: Figures,
) -> None:
    """One socket: opened after a delay, with a turn whenever there is a place for one."""
    await asyncio.sleep(delay)
    tenant = conversation.tenant
    address = f"{tenant.websocket_url}?token={tenant.tokens['access_token']}"
    async with await _connected(address, figures) as socket:
        figures.outcomes["sockets"] += 1
        while time.monotonic() < end:
            async with places:
                if time.monotonic() >= end:
                    return
                figures.under_way += 1
                figures.most_under_way = max(figures.under_way, figures.most_under_way)
                try:
                    await talk(conversation, socket, words, figures)
                finally:
                    figures.under_way -= 1


async def ask(session: aiohttp.ClientSession, tenant: Tenant, path: str, figures: Figures) -> None:
    """One REST request."""
    begun = time.monotonic()
    headers = {"Authorization": f"Bearer {tenant.tokens['access_token']}"}
    url = f"{tenant.rest.api_url}/api/v1{path.format(path=tenant.path)}"
    try:
        async with session.get(url, headers=headers) as answer:
            await answer.read()
            figures.statuses[str(answer.status)] += 1
            figures.rest.append(time.monotonic() - begun)
    except (TimeoutError, aiohttp.ClientError) as error:
        figures.errors[f"REST {type(error).__name__}"] += 1


async def requests(tenants: list[Tenant], rate: float, end: float, figures: Figures) -> None:
    """REST requests at a rate, whether or not earlier ones have been answered."""
    timeout = aiohttp.ClientTimeout(total=REST_TIMEOUT)
    connector = aiohttp.TCPConnector(limit=0)
    begun, number = time.monotonic(), 0
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        while (now := time.monotonic()) < end:
            while number < (now - begun) * rate:
                tenant, path = tenants[number % len(tenants)], READS[number % len(READS)]
                group.create_task(ask(session, tenant, path, figures))
                number += 1
            await asyncio.sleep(0.5 / rate)


def memory(stack: str, gateway_port: int) -> dict[str, float]:
    """Resident MiB of the stack's processes by kind, and `count`, how many workers there are."""
    folder = Path(".local", stack)
    pids = {int((folder / f"{name}.pid").read_text().split()[0]): name for name in PROCESSES[1:]}
    found = dict.fromkeys((*PROCESSES, "count"), 0.0)
    for pid, parent, command in _processes():
        kind = pids.get(pid) or pids.get(parent)
        if f"-{gateway_port}-" in command and "ministack-lambda-" in command:
            kind = "workers"
            found["count"] += 1
        if kind:
            found[kind] += _resident(pid)
    return found


def _processes() -> Iterator[tuple[int, int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                yield int(entry.name), parent, (entry / "cmdline").read_text()


def _resident(pid: int) -> float:
    """Proportional: what processes share, such as PostgreSQL's buffers, is counted once."""
    with suppress(OSError):
        for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0


async def watch(stack: str, gateway_port: int, ramp: float, end: float, figures: Figures) -> None:
    """Look at the memory now and then, once all sockets are open."""
    await asyncio.sleep(ramp)
    while time.monotonic() < end:
        figures.memory.append(await asyncio.to_thread(memory, stack, gateway_port))
        await asyncio.sleep(SAMPLE_SECONDS)


async def run(outputs: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    figures = Figures()
    users = max(-(-arguments.turns // TURNS_PER_USER), 1)
    print(f"signing up {users} users with a workspace each", flush=True)
    tenants = [sign_up(outputs["api_url"], outputs["websocket_url"]) for _ in range(users)]
    conversations = [Conversation(tenants[n % users]) for n in range(arguments.sockets)]
    places = asyncio.Semaphore(arguments.turns)
    words = f"[[words {arguments.words}]] [[pace {arguments.pace}]]"
    port = int(outputs["gateway_url"].rpartition(":")[2])
    print(f"{arguments.seconds} s of load, after {arguments.ramp} s for the sockets", flush=True)
    end = time.monotonic() + arguments.ramp + arguments.seconds
    jobs = [
        client(each, arguments.ramp * n / arguments.sockets, places, end, words, figures)
        for n, each in enumerate(conversations)
    ]
    results = await asyncio.gather(
        requests(tenants, arguments.rest, end, figures),
        watch(outputs["stack"], port, arguments.ramp, end, figures),
        *jobs,
        return_exceptions=True,
    )
    problems = [result for result in results if isinstance(result, BaseException)]
    print_table(figures, arguments)
    for problem in problems:
        if not isinstance(problem, ConnectionClosed | TimeoutError | OSError):
            raise problem
    lost = Counter(type(problem).__name__ for problem in problems)
    assert not problems, f"sockets lost: {lost}"
    print("reading everything back", flush=True)
    for conversation in conversations:
        await asyncio.to_thread(check_conversation, conversation)
    check_memory(figures)
    print("nothing is lost, nothing is doubled, every turn had one final frame")


def check_conversation(conversation: Conversation) -> None:
    """What is stored is what was said and heard, once and in order."""
    if conversation.id is None:
        return
    stored = conversation.tenant.messages(conversation.id)
    assert [m["content"] for m in stored if m["role"] == "user"] == conversation.said
    answers = {m["id"]: m for m in stored if m["role"] == "assistant"}
    assert answers.keys() == conversation.finals.keys()
    for message_id, final in conversation.finals.items():
        for name in ("content", "status", "stop_reason", "usage"):
            assert answers[message_id][name] == final[name], name


def check_memory(figures: Figures) -> None:
    """From the first half to the second, once all is warm, no process grows."""
    first, second = halves(figures)
    for name in ("worker", "bedrock"):
        assert second[name] <= first[name] * GROWTH + 5, f"{name} grew: {first} {second}"
    stored = STORED_KB / 1024 * sum(figures.outcomes[status] for status in FINAL)
    assert second["gateway"] <= first["gateway"] * GROWTH + stored, f"{first} {second}"


def halves(figures: Figures) -> tuple[dict[str, float], dict[str, float]]:
    """The mean memory in MiB, of a worker or of all processes of a kind, in the two halves."""
    half = len(figures.memory) // 2

    def means(samples: list[dict[str, float]]) -> dict[str, float]:
        found = {name: statistics.mean(s[name] for s in samples) for name in samples[0]}
        return found | {"worker": found["workers"] / max(found["count"], 1)}

    return means(figures.memory[:half]), means(figures.memory[half:])


def print_table(figures: Figures, arguments: argparse.Namespace) -> None:
    def times(name: str, seconds: list[float]) -> None:
        if len(seconds) > 1:
            cuts = statistics.quantiles(seconds, n=100)
            print(f"{name:44} p50 {cuts[49]:7.2f} s   p95 {cuts[94]:7.2f} s   of {len(seconds)}")

    lasted = arguments.ramp + arguments.seconds
    print(f"\n{'sockets open':44} {figures.outcomes.pop('sockets', 0)}")
    print(f"{'turns under way at once, at most':44} {figures.most_under_way}")
    times("chat to first frame", figures.first_frames)
    times("chat to final frame", figures.turns)
    times("REST request", figures.rest)
    print(f"{'turns by outcome':44} {dict(figures.outcomes)}")
    print(f"{'turns a second':44} {len(figures.turns) / lasted:.1f}")
    print(f"{'REST answers by status':44} {dict(figures.statuses)}")
    print(f"{'REST requests a second':44} {len(figures.rest) / lasted:.1f}")
    print(f"{'errors':44} {dict(figures.errors)}")
    first, second = halves(figures)
    for name in ("worker", "count", *PROCESSES):
        label = {"worker": "one worker", "count": "workers, their number"}.get(name, name)
        print(f"memory, {label:36} {first[name]:7.0f} then {second[name]:7.0f} MiB")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--turns", type=int, default=200, help="under way at any time")
    parser.add_argument("--rest", type=float, default=50, help="requests a second")
    parser.add_argument("--ramp", type=int, default=120, help="seconds to open the sockets in")
    parser.add_argument("--seconds", type=int, default=180, help="of load after that")
    parser.add_argument("--words", type=int, default=40, help="of an answer")
    parser.add_argument("--pace", type=int, default=20, help="milliseconds between two pieces")
    asyncio.run(run(read_outputs(), parser.parse_args()))


if __name__ == "__main__":
    main()
