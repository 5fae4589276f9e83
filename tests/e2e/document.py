"""Holds what a running stack answers against the documents that it serves."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[2]
# What API Gateway itself refuses has its own body.
GATEWAY = {413, 429, 500, 503}


@cache
def openapi(api_url: str) -> dict[str, Any]:
    """The document of a stack, as it serves it."""
    answer = requests.get(f"{api_url}/openapi.json", timeout=60)
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


@cache
def asyncapi() -> dict[str, Any]:
    """The document of the WebSocket's frames."""
    path = ROOT / "functions/platform/static/asyncapi.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of a schema that stands in a document."""
    resource = DRAFT202012.create_resource(document)
    registry = Registry().with_resource("urn:document", resource)
    return Draft202012Validator(
        _absolute(schema), registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def _absolute(schema: Any) -> Any:
    """The schema with references that name the document, as it is not at the document's root."""
    text = json.dumps(schema).replace('"$ref": "#/', '"$ref": "urn:document#/')
    return json.loads(text)


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What a value is a reference to, or itself."""
    while "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def check_answer(api_url: str, answer: requests.Response) -> None:
    """Assert that the document has an answer's status, its headers and the form of its body."""
    document = openapi(api_url)
    path = urlsplit(answer.url).path.removeprefix(urlsplit(api_url).path)
    method = str(answer.request.method).lower()
    expected = _expected(api_url, method, path, answer.status_code)
    media = answer.headers.get("Content-Type", "").partition(";")[0]
    said = f"{method.upper()} {path}: {answer.status_code} {answer.text[:500]}"
    if answer.status_code in GATEWAY and media != "application/problem+json":
        return
    assert expected is not None, f"not documented: {said}"
    for name, header in expected.get("headers", {}).items():
        header = resolved(document, header)
        if header.get("required"):
            assert name in answer.headers, f"no {name}: {said}"
    content = expected.get("content", {})
    if not content:
        assert not answer.content, f"no body is documented: {said}"
        return
    assert media in content, f"{media} is not documented: {said}"
    if media.endswith("json"):
        faults = _body_validator(api_url, method, path, answer.status_code, media).iter_errors(
            answer.json()
        )
        assert not [f"{fault.json_path}: {fault.message}" for fault in faults], said


def _template(api_url: str, path: str) -> str | None:
    """The documented path that this one is of; one without parameters goes before one with."""
    found = [
        template
        for template in openapi(api_url)["paths"]
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path)
    ]
    return min(found, key=lambda template: template.count("{"), default=None)


def _expected(api_url: str, method: str, path: str, status: int) -> dict[str, Any] | None:
    document = openapi(api_url)
    template = _template(api_url, path)
    operations = document["paths"].get(template, {})
    if method not in operations:
        if status == (405 if operations else 404):
            name = "MethodNotAllowed" if operations else "NotFound"
            return resolved(document, {"$ref": f"#/components/responses/{name}"})
        return None
    found = operations[method]["responses"].get(str(status))
    return resolved(document, found) if found else None


@cache
def _validator_of(api_url: str, pointer: str) -> Draft202012Validator:
    return validator(openapi(api_url), json.loads(pointer))


def _body_validator(
    api_url: str, method: str, path: str, status: int, media: str
) -> Draft202012Validator:
    expected = _expected(api_url, method, path, status)
    assert expected is not None
    return _validator_of(api_url, json.dumps(expected["content"][media]["schema"]))


@cache
def _frames(operation: str) -> list[Draft202012Validator]:
    document = asyncapi()
    messages = [
        resolved(document, resolved(document, message))
        for message in document["operations"][operation]["messages"]
    ]
    return [validator(document, message["payload"]) for message in messages]


def check_frame(frame: dict[str, Any]) -> None:
    """Assert that exactly one of the documented frames is like this one."""
    fitting = [one for one in _frames("send") if one.is_valid(frame)]
    assert len(fitting) == 1, f"{len(fitting)} documented frames are like {str(frame)[:500]}"
