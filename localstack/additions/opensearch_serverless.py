"""A collection's address leads to the stand-in in `OPENSEARCH_URL` (localstack/opensearch).

MiniStack gives it a host that no resolver knows, and behind that an engine in Docker.
"""

import os

from ministack.services import opensearchserverless

from localstack.additions.seam import replace


def install() -> None:
    """Replace the address. Fails if what makes it has moved."""

    def _collection_endpoint(collection_id: str) -> str:  # noqa: ARG001  one stand-in for all
        return os.environ["OPENSEARCH_URL"]

    replace(opensearchserverless, "_collection_endpoint", _collection_endpoint)
