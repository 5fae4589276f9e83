"""Saved queries of CloudWatch Logs Insights, which MiniStack does not know."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ministack.core.responses import error_response_json, json_response, new_uuid
from ministack.services import cloudwatch_logs as stock

from localstack.additions.seam import replace, require

Json = Any

# Among the running queries, whose state MiniStack keeps over a restart.
_KIND = "definition"


def _put(data: Json) -> Json:
    """PutQueryDefinition: makes one, or changes that of `queryDefinitionId`."""
    identifier = data.pop("queryDefinitionId", None)
    if identifier and identifier not in _definitions():
        return _not_found()
    identifier = identifier or new_uuid()
    data.pop("clientToken", None)
    stock._queries[identifier] = {
        "kind": _KIND,
        "value": {
            **data,
            "queryDefinitionId": identifier,
            "queryLanguage": data.get("queryLanguage", "CWLI"),
            "lastModified": int(time.time() * 1000),
        },
    }
    return json_response({"queryDefinitionId": identifier})


def _describe(data: Json) -> Json:
    prefix = data.get("queryDefinitionNamePrefix", "")
    found = [each for each in _definitions().values() if each["name"].startswith(prefix)]
    return json_response({"queryDefinitions": found})


def _delete(data: Json) -> Json:
    if data["queryDefinitionId"] not in _definitions():
        return _not_found()
    del stock._queries[data["queryDefinitionId"]]
    return json_response({"success": True})


def _definitions() -> dict[str, Json]:
    return {
        identifier: query["value"]
        for identifier, query in stock._queries.items()
        if query.get("kind") == _KIND
    }


def _not_found() -> Json:
    message = "The specified query definition does not exist."
    return error_response_json("ResourceNotFoundException", message, 400)


_ACTIONS = {
    "Logs_20140328.PutQueryDefinition": _put,
    "Logs_20140328.DescribeQueryDefinitions": _describe,
    "Logs_20140328.DeleteQueryDefinition": _delete,
}


async def handle_request(
    method: str, path: str, headers: dict[str, str], body: bytes, query_params: Json
) -> Json:
    """MiniStack's dispatch, and the three actions."""
    action = _ACTIONS.get(headers.get("x-amz-target", ""))
    if action is not None:
        return action(json.loads(body))
    return await _stock_handle_request(method, path, headers, body, query_params)


_stock_handle_request: Callable[..., Awaitable[Json]]


def install() -> None:
    """Wrap the dispatch; raises SeamMissing if MiniStack is not as pinned."""
    global _stock_handle_request
    require(stock, "get_state")
    _stock_handle_request = replace(stock, "handle_request", handle_request)
