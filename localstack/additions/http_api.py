"""API Gateway's limits, errors and times for HTTP APIs.

MiniStack sends a failed function's error, stack trace included, to the client as a 502, waits for
a function as long as it runs, takes requests of any size, and says that a request came when its
authorizer was done.
"""

import asyncio
import json
import time
from contextvars import ContextVar
from typing import Any

from ministack.services import apigateway, lambda_svc

from localstack.additions.seam import replace, require

REQUEST_BYTES = 10 * 1024 * 1024
_INTEGRATION_MS = 30_000

# When the request that is being served came, in milliseconds since the epoch.
_received_at: ContextVar[int] = ContextVar("received_at")

Json = dict[str, Any]
Answer = tuple[int, dict[str, Any], bytes]


def _answer(status: int, message: str) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps({"message": message}).encode()


async def handle_execute(
    api_id: str,
    stage: str,
    path: str,
    method: str,
    headers: Json,
    body: bytes,
    query_params: Json,
    raw_query_string: str | None = None,
) -> Answer:
    """Answer a client's request: 413 above 10 MB, else what the route answers."""
    _received_at.set(int(time.time() * 1000))
    if len(body) > REQUEST_BYTES:
        return _answer(413, "Request Entity Too Large")
    answer: Answer = await _stock_handle_execute(
        api_id, stage, path, method, headers, body, query_params, raw_query_string
    )
    return answer


async def _invoke_lambda_proxy(integration: Json, *arguments: Any, **options: Any) -> Answer:
    """Call a route's function: 503 when it takes longer than its integration may; it runs on."""
    call = asyncio.ensure_future(_stock_invoke_lambda_proxy(integration, *arguments, **options))
    seconds = int(integration.get("timeoutInMillis") or _INTEGRATION_MS) / 1000
    await asyncio.wait({call}, timeout=seconds)
    if not call.done():
        return _answer(503, "Service Unavailable")
    answer: Answer = call.result()
    return answer


def _execute_function_with_config_scope(func: Json, event: Any) -> Json:
    """Call a function: where a route does, `timeEpoch` is when the request came."""
    if isinstance(event, dict) and event.get("version") == "2.0" and "requestContext" in event:
        context = event["requestContext"]
        context["timeEpoch"] = _received_at.get(context.get("timeEpoch"))
    result: Json = _stock_execute(func, event)
    return result


def lambda_execute_result_to_api_proxy_response(
    exec_result: Json,
) -> tuple[Json | None, str | None]:
    """MiniStack's, but a failed function is a 500 without its reason."""
    body = exec_result.get("body")
    own_answer = isinstance(body, dict) and "statusCode" in body
    if exec_result.get("error") and not exec_result.get("throttle") and not own_answer:
        status, headers, text = _answer(500, "Internal Server Error")
        return {"statusCode": status, "headers": headers, "body": text.decode()}, None
    response: tuple[Json | None, str | None] = _stock_proxy_response(exec_result)
    return response


def install() -> None:
    """Replace how HTTP APIs answer. Fails if what it replaces has moved."""
    global _stock_handle_execute, _stock_invoke_lambda_proxy, _stock_proxy_response, _stock_execute
    _stock_handle_execute = replace(apigateway, "handle_execute", handle_execute)
    _stock_invoke_lambda_proxy = require(
        apigateway,
        "_invoke_lambda_proxy",
        *("integration", "api_id", "stage", "path", "method", "headers", "body", "query_params"),
        *("route_key", "path_params", "authorizer_claims", "authorizer_scopes"),
        *("authorizer_lambda_context", "authorizer_iam", "owner_account_id", "owner_region"),
        "raw_query_string",
    )
    apigateway._invoke_lambda_proxy = _invoke_lambda_proxy
    _stock_execute = replace(
        lambda_svc, "_execute_function_with_config_scope", _execute_function_with_config_scope
    )
    _stock_proxy_response = replace(
        lambda_svc,
        "lambda_execute_result_to_api_proxy_response",
        lambda_execute_result_to_api_proxy_response,
    )


_stock_handle_execute: Any
_stock_invoke_lambda_proxy: Any
_stock_proxy_response: Any
_stock_execute: Any
