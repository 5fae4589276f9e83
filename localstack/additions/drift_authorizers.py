"""An authorizer has the properties of its kind only.

MiniStack gives every authorizer a JWT configuration and those of WebSocket APIs what only HTTP APIs
have, so a second plan would take them away again.
"""

import json
from typing import Any

from ministack.services import apigateway

from localstack.additions.seam import replace, require


def install() -> None:
    """Wrap CreateAuthorizer. Fails if what it calls has moved."""
    require(apigateway, "_apigw_response", "data", "status")

    def _create_authorizer(api_id: str, data: dict[str, Any]) -> Any:
        status, headers, body = stock(api_id, data)
        if status != 201:
            return status, headers, body
        authorizer = apigateway._authorizers[api_id][json.loads(body)["authorizerId"]]
        if authorizer["authorizerType"] != "JWT":
            del authorizer["jwtConfiguration"]
        if apigateway._apis[api_id]["protocolType"] == "WEBSOCKET":
            for name in ("authorizerPayloadFormatVersion", "enableSimpleResponses"):
                del authorizer[name]
        return apigateway._apigw_response(authorizer, status)

    stock = replace(apigateway, "_create_authorizer", _create_authorizer)
