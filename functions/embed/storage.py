"""A document's objects in S3: its text, and its chunks with their embeddings."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chatbot import documents
from chatbot.aws import client
from chatbot.settings import settings
from functions.embed.index import Chunk

EMBEDDINGS = "embeddings/"


def text(row: Mapping[str, Any]) -> str:
    """A document's text. Raises botocore's error where it is not there."""
    body: bytes = _get(row["text_key"])
    return body.decode()


def embedded(row: Mapping[str, Any]) -> list[Chunk] | None:
    """The chunks of a version that was embedded before, or None."""
    try:
        packed = _get(documents.embeddings_key(row))
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return None
    lines = gzip.decompress(packed).decode().splitlines()
    return [Chunk(**json.loads(line)) for line in lines]


def keep(row: Mapping[str, Any], chunks: Sequence[Chunk]) -> None:
    """Store the chunks, so that nobody has to pay for their embeddings again."""
    lines = [json.dumps({"content": c.content, "embedding": c.embedding}) for c in chunks]
    client("s3").put_object(
        Bucket=settings().documents_bucket,
        Key=documents.embeddings_key(row),
        Body=gzip.compress("\n".join(lines).encode(), mtime=0),
    )


def drop(row: Mapping[str, Any], before: int) -> None:
    """Delete what is stored of a document's versions before one."""
    for kind in ("documents", "embeddings"):
        for key in listed(f"{kind}/{row['workspace_id']}/{row['document_id']}/"):
            if documents.key_version(key) < before:
                client("s3").delete_object(Bucket=settings().documents_bucket, Key=key)


def listed(prefix: str, after: str = "") -> Iterator[str]:
    """The keys under a prefix, in order, after one of them."""
    pages = (
        client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=settings().documents_bucket, Prefix=prefix, StartAfter=after)
    )
    for page in pages:
        for item in page.get("Contents", []):
            yield item["Key"]


def _get(key: str) -> bytes:
    answer = client("s3").get_object(Bucket=settings().documents_bucket, Key=key)
    body: bytes = answer["Body"].read()
    return body
