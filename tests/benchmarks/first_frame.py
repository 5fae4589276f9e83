"""What the pipeline adds before the first frame, over a direct `ConverseStream` call.

Both are measured in turn, A B A B …, against the same running stack and the same model stand-in:
A is boto3's `converse_stream` until its first text; B is a `chat` frame over the WebSocket until
the answer's first streaming frame. Printed: the medians in milliseconds, what the pipeline adds,
and the ratio of the two.
"""

import statistics
import time

import boto3

from tests.e2e.client import Chat, Tenant, sign_up
from tests.e2e.conftest import read_outputs

ROUNDS = 30
WORDS = "[[words 30]] [[pace 10]]"


def direct(bedrock_url: str, model_id: str) -> float:
    """Seconds from the call to the first text."""
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=bedrock_url,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    started = time.perf_counter()
    answer = client.converse_stream(
        modelId=model_id, messages=[{"role": "user", "content": [{"text": WORDS}]}]
    )
    for event in answer["stream"]:
        if "contentBlockDelta" in event:
            break
    elapsed = time.perf_counter() - started
    answer["stream"].close()
    return elapsed


def chatted(chat: Chat, tenant: Tenant) -> float:
    """Seconds from the `chat` frame to the first streaming frame."""
    started = time.perf_counter()
    turn = chat.follow(chat.start(tenant.chatbot_id, WORDS), frames=1)
    elapsed = time.perf_counter() - started
    chat.follow(turn)
    return elapsed


def main() -> None:
    outputs = read_outputs()
    tenant = sign_up(outputs["api_url"], outputs["websocket_url"])
    model_id = tenant.rest.ok("GET", f"{tenant.path}/chatbots/{tenant.chatbot_id}")["model_id"]
    with tenant.chat() as chat:
        chatted(chat, tenant)  # warms the functions: cold starts have a benchmark of their own
        pairs = [
            (direct(outputs["bedrock_url"], model_id), chatted(chat, tenant)) for _ in range(ROUNDS)
        ]
    alone, through = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
    added = statistics.median((b - a) * 1000 for a, b in pairs)
    print(f"first text, direct ConverseStream     {alone:8.1f} ms")
    print(f"first frame, through the pipeline     {through:8.1f} ms")
    print(f"the pipeline adds                     {added:8.1f} ms ({through / alone:.1f} times)")


if __name__ == "__main__":
    main()
