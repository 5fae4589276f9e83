"""A collection of OpenSearch Serverless says where it is reached.

Quoted: https://docs.aws.amazon.com/opensearch-service/latest/ServerlessAPIReference/API_CollectionDetail.html.
"""

import json
import uuid

from tests.integration.parity.gateway import OPENSEARCH_URL, Server, wait_until


def test_collection_leads_to_what_answers_for_it(server: Server) -> None:
    """`collectionEndpoint`: "Collection-specific endpoint used to submit index, search, and data
    upload requests to an OpenSearch Serverless collection"."""
    client, name = server.client("opensearchserverless"), f"things-{uuid.uuid4().hex[:8]}"
    rules = [{"ResourceType": "collection", "Resource": [f"collection/{name}"]}]
    policy = json.dumps({"Rules": rules, "AWSOwnedKey": True})
    client.create_security_policy(name=name, type="encryption", policy=policy)
    client.create_collection(name=name, type="VECTORSEARCH")

    def endpoint() -> str | None:
        [found] = client.batch_get_collection(names=[name])["collectionDetails"]
        address: str = found["collectionEndpoint"]
        return address if found["status"] == "ACTIVE" else None

    assert wait_until(endpoint) == OPENSEARCH_URL
