"""The index in OpenSearch Serverless, where the environment has it; its mapping is `index.json`.

Titan's embeddings have length 1, so their inner product is their cosine; of the engines that filter
while they search, OpenSearch 2.17, which collections run, gives none the cosine itself.
"""

import time
from pathlib import Path

from chatbot import opensearch
from chatbot.errors import ServiceUnavailable
from chatbot.opensearch import RequestRefused

MAPPING = Path(__file__).with_name("index.json")
PATIENCE_SECONDS = 180  # until the policies of a new collection are in effect


def provide() -> None:
    """Make the index unless it is there. Raises `ServiceUnavailable`, `RequestRefused`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            opensearch.ask("PUT", opensearch.INDEX, MAPPING.read_text(encoding="utf-8"))
        except RequestRefused as refusal:
            if refusal.kind != "resource_already_exists_exception":
                raise
        except ServiceUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(5)
            continue
        return
