"""JSON Schemas of bodies, answers and frames, and examples of what they allow."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

type Schema = dict[str, Any]

EXAMPLE_ID = "0190f0aa-7c5e-7d20-8f3b-2b1f5c9e4a10"
REQUEST_ID = "0190f0ab-request"

# What a field of this name usually holds; the schema has the last word.
VALUES: dict[str, Any] = {
    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMTkwIn0.c2lnbmF0dXJl",
    "client_message_id": "question-1",
    "comment": "Just what I asked.",
    "content": "Where is the kitchen?",
    "cost": "0.000546",
    "current_password": "correct horse battery staple",
    "description": "Answers questions about the handbook.",
    "detail": "There is no such conversation.",
    "email": "ada@example.com",
    "environment": "prod",
    "expires_in": 900,
    "external_id": "issues/12",
    "full_name": "Ada Lovelace",
    "input_price": "3",
    "input_tokens": 12,
    "max_concurrent_turns": 5,
    "max_tokens": 4096,
    "max_tool_rounds": 5,
    "message_count": 2,
    "model_id": "anthropic.claude-sonnet-4-20250514-v1:0",
    "monthly_cost": "25.00",
    "monthly_tokens": 1_000_000,
    "name": "Support",
    "new_password": "a much longer pass phrase",
    "output_price": "15",
    "output_tokens": 34,
    "password": "correct horse battery staple",
    "permission": "chatbots:read",
    "query": "Where is the kitchen?",
    "rating": 5,
    "refresh_token": "b3BhcXVlLXJlZnJlc2gtdG9rZW4",
    "request_id": REQUEST_ID,
    "schedule": "rate(1 hour)",
    "slug": "analytical-engines",
    "system_prompt": "You help {{ user.full_name }}.",
    "temperature": 0.5,
    "ticket": "b25lLXRpbWUtdGlja2V0",
    "title": "Where is the kitchen?",
    "token": "b25lLXRpbWUtdG9rZW4",
    "tool": "web_search",
    "tools": [],
    "top_k": 5,
    "top_p": 0.9,
    "tool_use_id": "tooluse_1",
    "url": "https://example.com/handbook",
    "username": "ada",
    "version": "1.0.0",
}

_FORMATS = {
    "uuid": EXAMPLE_ID,
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00.000000Z",
}
_KINDS: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    type(None): "null",
}


class _Generator(GenerateJsonSchema):
    """Pydantic's, without a title that says a field's name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def describe(models: Mapping[str, Any]) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The schema of each model by its key here, and the objects that they name, by name.

    An object has the name of its class, and a model that is an object is a reference to it; what
    is no object stands inline.
    """
    if not models:
        return {}, {}
    made, definitions = TypeAdapter.json_schemas(
        [(key, "validation", TypeAdapter(model)) for key, model in models.items()],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Generator,
    )
    found: dict[str, Schema] = definitions.get("$defs", {})
    scalars = {name: schema for name, schema in found.items() if schema.get("type") != "object"}
    objects = {
        name: _inlined(schema, scalars) for name, schema in found.items() if name not in scalars
    }
    described = {}
    for (key, _), schema in made.items():
        whole = _inlined(schema, scalars)
        if name := whole.pop("title", None):  # a model that no other one names stands here itself
            objects[name] = whole
            whole = {"$ref": f"#/components/schemas/{name}"}
        described[key] = whole
    for schema in objects.values():
        schema.pop("title", None)
    return described, objects


def _inlined(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {key: _inlined(value, definitions) for key, value in schema.items()}
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name not in definitions:
        return rest
    del rest["$ref"]
    return {**_inlined(definitions[name], definitions), **rest}


def example(
    schema: Schema, objects: Mapping[str, Schema], name: str = "", *, lean: bool = False
) -> Any:
    """A value that the schema allows; `objects` are those that it names, `name` is its field's.

    A lean one leaves out what a client may and whose default is null or not known here.
    """
    if "$ref" in schema:
        return example(objects[schema["$ref"].rpartition("/")[2]], objects, name, lean=lean)
    if "const" in schema:
        return schema["const"]
    for key in ("examples", "enum"):
        if key in schema:
            return schema[key][0]
    if "anyOf" in schema:
        first = {"type": schema.get("type", "null"), **schema["anyOf"][0]}
        return example(first, objects, name, lean=lean)
    kinds = schema.get("type", "null")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if name in VALUES and _KINDS[type(VALUES[name])] in kinds:
        return VALUES[name]
    if kinds[0] == "object":
        required = schema.get("required", [])
        return {
            field: example(inner, objects, field, lean=lean)
            for field, inner in schema.get("properties", {}).items()
            if field in required or not lean or inner.get("default") is not None
        }
    if kinds[0] == "array":
        return [example(schema["items"], objects, name.removesuffix("s"), lean=lean)]
    return _single(schema, kinds[0])


def _single(schema: Schema, kind: str) -> Any:
    match kind:
        case "string":
            is_id = schema.get("pattern", "").casefold().startswith("^[0-9a-fa-f]{8}")
            return _FORMATS["uuid"] if is_id else _FORMATS.get(schema.get("format", ""), "text")
        case "boolean":
            return schema.get("default", True)
        case "null":
            return None
    return schema.get("default", schema.get("minimum", 0))
