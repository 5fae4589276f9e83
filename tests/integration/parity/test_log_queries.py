"""Saved queries of CloudWatch Logs Insights: what AWS documents, and MiniStack does not know.

Quotations are from the CloudWatch Logs API Reference.
"""

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.parity.gateway import Server

QUERY = "fields @timestamp | sort @timestamp asc"


def saved(server: Server, name: str) -> list[dict[str, Any]]:
    answer = server.client("logs").describe_query_definitions(queryDefinitionNamePrefix=name)
    return [dict(each) for each in answer["queryDefinitions"]]


def test_query_is_saved_changed_and_deleted(server: Server) -> None:
    """ "Creates or updates a query definition … To update a query definition, specify its
    queryDefinitionId in your request"; "You can use the queryDefinitionNamePrefix parameter to
    limit the results to only the query definitions that have names that start with a certain
    string"."""
    logs, name = server.client("logs"), f"parity/{uuid.uuid4().hex[:8]}"
    made = logs.put_query_definition(name=name, queryString=QUERY, logGroupNames=["one", "two"])
    [found] = saved(server, name)
    assert found["queryDefinitionId"] == made["queryDefinitionId"]
    assert (found["name"], found["queryString"]) == (name, QUERY)
    assert found["logGroupNames"] == ["one", "two"]
    changed = logs.put_query_definition(
        name=name, queryString="limit 1", queryDefinitionId=made["queryDefinitionId"]
    )
    assert changed["queryDefinitionId"] == made["queryDefinitionId"]
    assert [each["queryString"] for each in saved(server, name)] == ["limit 1"]
    deleted = logs.delete_query_definition(queryDefinitionId=made["queryDefinitionId"])
    assert deleted["success"]
    assert saved(server, name) == []


def test_query_that_is_not_there_is_not_found(server: Server) -> None:
    """ResourceNotFoundException: "The specified resource does not exist." """
    with pytest.raises(ClientError) as refused:
        server.client("logs").delete_query_definition(queryDefinitionId=str(uuid.uuid4()))
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
