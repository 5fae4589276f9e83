"""The documents and the page that shows them, as files: nothing is made at run time."""

from pathlib import Path

from aws_lambda_powertools.event_handler import api_gateway
from aws_lambda_powertools.event_handler.api_gateway import Response

from chatbot.errors import NotFound

STATIC = Path(__file__).with_name("static")
# Swagger UI comes with Powertools, in the layer of dependencies.
SWAGGER = Path(api_gateway.__file__).with_name("openapi") / "swagger_ui"

FILES = {
    "openapi.json": (STATIC, "application/json"),
    "asyncapi.json": (STATIC, "application/json"),
    "page.html": (STATIC, "text/html; charset=utf-8"),
    "page.css": (STATIC, "text/css; charset=utf-8"),
    "page.js": (STATIC, "text/javascript; charset=utf-8"),
    "swagger-ui.min.css": (SWAGGER, "text/css; charset=utf-8"),
    "swagger-ui-bundle.min.js": (SWAGGER, "text/javascript; charset=utf-8"),
}

HEADERS: dict[str, str | list[str]] = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(name: str) -> Response[str]:
    """A file as an answer, compressed where the client takes it. Raises `NotFound`."""
    if name not in FILES:
        raise NotFound
    folder, content_type = FILES[name]
    text = (folder / name).read_text(encoding="utf-8")
    return Response(200, content_type, text, headers=HEADERS, compress=True)
