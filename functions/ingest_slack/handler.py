"""The state `FetchSlack`: reads the threads of a Slack workspace, a document each."""

from collections.abc import Callable, Mapping
from typing import Any

from chatbot.fetching import Client
from chatbot.ingesting import Provider, Run, Task, ingest
from functions.ingest_slack import api, channels, threads


def connect(
    config: Mapping[str, Any], credentials: Mapping[str, str], remaining: Callable[[], float]
) -> Client:
    token = credentials["bot_token"]
    return Client(
        config.get("base_url") or "https://slack.com/api",
        remaining,
        headers={"Authorization": f"Bearer {token}"},
        secrets=(token,),
    )


def start(_: Run) -> list[Task]:
    return [["channels", None, "", api.ALL_TYPES, []]]


PROVIDER = Provider(
    connect,
    start,
    {
        "channels": channels.list_page,
        "join": channels.join,
        "history": channels.history,
        "compare": channels.compare,
        "thread": threads.thread,
    },
)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """See `chatbot.ingesting.ingest`."""
    return ingest(event, context, PROVIDER)
