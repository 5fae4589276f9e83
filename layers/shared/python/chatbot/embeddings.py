"""Embeddings by Amazon Titan Text Embeddings V2: 1024 numbers, of length 1.

Source: Amazon Bedrock user guide, "Amazon Titan Embeddings Text" (8,192 tokens or 50,000
characters at most, one text a call).
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatbot.aws import session
from chatbot.errors import RetryLater

MODEL_ID = "amazon.titan-embed-text-v2:0"
DIMENSIONS = 1024
AT_ONCE = 8
_MAX_CHARACTERS = 40_000


def embed(texts: Sequence[str]) -> list[list[float]]:
    """The embeddings of texts, in their order. Raises `RetryLater` where the model is busy."""
    if len(texts) <= 1:
        return [_embed(text) for text in texts]
    with ThreadPoolExecutor(min(AT_ONCE, len(texts))) as pool:
        return list(pool.map(_embed, texts))


def _embed(text: str) -> list[float]:
    body = {
        "inputText": text[:_MAX_CHARACTERS] if text.strip() else "-",
        "dimensions": DIMENSIONS,
        "normalize": True,
    }
    try:
        answer = _bedrock().invoke_model(modelId=MODEL_ID, body=json.dumps(body))
        embedding: list[float] = json.loads(answer["body"].read())["embedding"]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403, 404):
            raise
        raise RetryLater(error.response["Error"]["Code"]) from None
    except BotoCoreError as error:
        raise RetryLater(type(error).__name__) from None
    return embedding


@cache
def _bedrock() -> Any:
    config = Config(
        connect_timeout=2,
        read_timeout=10,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=AT_ONCE,
        tcp_keepalive=True,
    )
    return session().create_client("bedrock-runtime", config=config)
