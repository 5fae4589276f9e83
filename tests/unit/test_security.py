"""The points that the backend is held against, each with the tests that hold it: security.json.

ASVS is version 5 of OWASP's verification standard (tokens, WebSockets, sessions, authorization),
API and LLM are its top tens of 2023 and 2025, RFC 8725 and 9700 the best practice for JWT and
OAuth. Below the table's own tests stand those of points that no other file holds.
"""

import ast
import json
import re
import tomllib
from functools import cache
from typing import Any

import jwt
import pytest

from chatbot import tokens
from chatbot.errors import Unauthorized
from layers.build import ROOT, locked_requirements
from tests.unit.conftest import SIGNING_SECRET
from tests.unit.rest import ALICE

TABLE: list[dict[str, Any]] = json.loads((ROOT / "tests/security.json").read_text(encoding="utf-8"))
POINTS = {
    *(f"ASVS 4.4.{n}" for n in range(1, 5)),
    *(f"ASVS 7.4.{n}" for n in range(1, 6)),
    *(f"ASVS 8.2.{n}" for n in range(1, 5)),
    *(f"ASVS 8.3.{n}" for n in range(1, 4)),
    *(f"ASVS 8.4.{n}" for n in range(1, 3)),
    *(f"ASVS 9.1.{n}" for n in range(1, 4)),
    *(f"ASVS 9.2.{n}" for n in range(1, 5)),
    "ASVS 10.4.5",
    *(f"API{n}:2023" for n in range(1, 11)),
    *(f"LLM{n:02}:2025" for n in range(1, 11)),
    *(f"RFC 8725 3.{n}" for n in (1, 3, 5, 8, 9, 10, 12)),
    *(f"RFC 9700 {section}" for section in ("2.2.2", "2.6", "4.14")),
    "bcrypt",
    "frames and cursors",
    "repository",
}


@cache
def names_in(path: str) -> set[str]:
    """The names of a file's tests: functions of pytest, runs of `terraform test`."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".hcl"):
        return set(re.findall(r'^run "(\w+)"', text, re.MULTILINE))
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def test_every_point_is_held_and_every_row_is_a_point() -> None:
    assert [row["point"] for row in TABLE if not row["tests"]] == []
    listed = [row["point"] for row in TABLE]
    assert len(listed) == len(set(listed))
    assert set(listed) == POINTS


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["point"])
def test_point_names_tests_that_there_are(row: dict[str, Any]) -> None:
    for test in row["tests"]:
        path, _, name = test.partition("::")
        assert name in names_in(path), test


# --- Points that nothing else holds --------------------------------------------------------------


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c", "kid"])
def test_key_that_a_token_brings_along_is_not_taken(
    header: str, cloud: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed with the attacker's own key, and pointing to it in every way that JOSE knows."""
    monkeypatch.setattr(tokens, "_keys", tokens.SigningKeys())
    good = tokens.issue_access_token(ALICE.user_id, ALICE.token_version)
    claims = jwt.decode(good, options={"verify_signature": False})
    own = "attacker-" * 8
    told: dict[str, Any] = {
        "jwk": {"kty": "oct", "k": own, "kid": "2"},
        "jku": "https://attacker.example.com/keys.json",
        "x5u": "https://attacker.example.com/cert.pem",
        "x5c": [own],
        "kid": "../../../dev/null",
    }
    headers = {"kid": "2", header: told[header]}
    with pytest.raises(Unauthorized):
        tokens.verify_access_token(jwt.encode(claims, own, "HS256", headers=headers))
    if header != "kid":  # what is signed with our key is good, whatever else it says
        ours = jwt.encode(claims, SIGNING_SECRET["keys"]["2"], "HS256", headers=headers)
        assert tokens.verify_access_token(ours) == ALICE


def test_signing_key_is_as_long_as_the_hash() -> None:
    """The first one is 128 hex digits; HS256 asks for no less than 256 bits."""
    text = (ROOT / "terraform/secrets.tf").read_text(encoding="utf-8")
    assert re.search(r'keys\s+= \{ "1" = sha512\("\$\{uuid\(\)\}\$\{uuid\(\)\}"\) \}', text)


@pytest.mark.parametrize("module", ["http_api", "websocket_api"])
def test_access_logs_hold_no_query_and_no_header(module: str) -> None:
    """Both can carry a token; a path can carry the id of an object only."""
    text = (ROOT / f"terraform/modules/{module}/main.tf").read_text(encoding="utf-8")
    [logged] = re.findall(r"access_log_settings \{(.*?)\n  \}", text, re.DOTALL)
    variables = set(re.findall(r"\$context\.([\w.]+)", logged))
    assert {"requestId", "status", "routeKey"} <= variables
    assert variables <= {
        "authorizer.error",
        "connectionId",
        "error.message",
        "eventType",
        "extendedRequestId",
        "identity.sourceIp",
        "integrationErrorMessage",
        "integrationLatency",
        "requestId",
        "requestTime",
        "responseLatency",
        "responseLength",
        "routeKey",
        "status",
    }


def test_every_package_of_the_functions_is_locked_with_its_hash() -> None:
    packages = re.findall(r"^(\S+?)==\S+", locked_requirements(), re.MULTILINE)
    hashed = re.findall(
        r"^(\S+?)==[^\n]*\\\n(?:    --hash=sha256:\w{64}(?: \\)?\n?)+",
        locked_requirements(),
        re.MULTILINE,
    )
    assert packages == hashed
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {re.split(r"[>=\[]", each)[0] for each in wanted["dependency-groups"]["lambda"]}
    assert named <= set(packages)


def granted() -> dict[str, dict[str, str]]:
    """What functions.tf grants each function."""
    text = (ROOT / "terraform/functions.tf").read_text(encoding="utf-8")
    rows = re.findall(r"^    (\w+) = \{\n(.*?)^    \}", text, re.DOTALL | re.MULTILINE)
    return {
        name: dict(
            re.findall(r"(\w+)\s*= \"(\w+)\"", re.sub(r"^.*?access\s*=", "", body, flags=re.DOTALL))
        )
        for name, body in rows
        if "access" in body
    }


def test_functions_that_talk_to_the_model_reach_no_administration() -> None:
    """A prompt that took one over could neither sign a token, nor read credentials, nor change
    who may what."""
    with_model = {name: access for name, access in granted().items() if "bedrock" in access}
    assert "chat_stream" in with_model
    for name, access in with_model.items():
        assert {"signing_secret", "source_secrets", "mail_sender"}.isdisjoint(access), name
        assert access.get("database", "worker") in ("worker", "app"), name
    assert "database" not in with_model["chat_stream"]
