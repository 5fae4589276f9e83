"""The HTTP side of the stand-in: signatures, the operations that there are, errors."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localstack.opensearch.collection import Collection, Refused

BODY_BYTES = 10 * 1024 * 1024
COLLECTION = web.AppKey("collection", Collection)
SECRET_KEY = web.AppKey("secret_key", str)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([\w-]+)/aoss/aws4_request,"
    r" ?SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})"
)
_FORBIDDEN = Refused(403, "Forbidden", "403 Forbidden")


def _check_signature(request: web.Request, body: bytes) -> None:
    """Raise `Refused` unless the request is signed for `aoss`, with the digest of its body."""
    match = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    digest = request.headers.get("X-Amz-Content-SHA256")
    if match is None or digest != hashlib.sha256(body).hexdigest():
        raise _FORBIDDEN
    key, region, signed, signature = match.groups()
    credentials = Credentials(key, request.app[SECRET_KEY])
    headers = {name: request.headers[name] for name in signed.split(";")}
    copy = AWSRequest(request.method, str(request.url), headers, body)
    copy.context["timestamp"] = request.headers["X-Amz-Date"]
    signer: Any = SigV4Auth(credentials, "aoss", region)
    expected = signer.signature(signer.string_to_sign(copy, signer.canonical_request(copy)), copy)
    if expected != signature:
        raise _FORBIDDEN


async def _serve(request: web.Request) -> web.Response:
    body = await request.read()
    collection = request.app[COLLECTION]
    index, operation = request.match_info["index"], request.match_info.get("operation")
    try:
        _check_signature(request, body)
        match request.method, operation:
            case "PUT", None:
                answer = collection.create(index, json.loads(body))
            case "POST", "_bulk":
                if "refresh" in request.query:
                    reason = "true refresh policy is not supported."
                    raise Refused(400, "illegal_argument_exception", reason)
                answer = collection.bulk(index, _lines(body))
            case "POST", "_search":
                answer = collection.search(index, json.loads(body))
            case _:  # _refresh, _delete_by_query, _update …
                raise Refused(404, "NotFound", "404 Not Found")
    except Refused as error:
        problem = {"type": error.kind, "reason": error.reason}
        return web.json_response({"status": error.status, "error": problem}, status=error.status)
    return web.json_response(answer)


def _lines(body: bytes) -> Iterator[dict[str, Any]]:
    if not body.endswith(b"\n"):
        reason = "The bulk request must be terminated by a newline [\\n]"
        raise Refused(400, "illegal_argument_exception", reason)
    return (json.loads(line) for line in body.splitlines())


def make_app(collection: Collection, secret_key: str) -> web.Application:
    """The application over a collection; `secret_key` is what requests are signed with."""
    app = web.Application(client_max_size=BODY_BYTES)
    app[COLLECTION] = collection
    app[SECRET_KEY] = secret_key
    app.router.add_route("*", "/{index}", _serve)
    app.router.add_route("*", "/{index}/{operation}", _serve)
    return app
