"""Bedrock's guardrails as its API documents them: what is read is what was written.

MiniStack answers GetGuardrail with the names of the request instead of the response's, finds no
guardrail by its ARN, keeps what an update leaves out, takes the description of a version for the
guardrail's, deletes all versions with one, and makes ids that no request may name.
"""

import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from ministack.services import bedrock

from localstack.additions.seam import replace, require

_POLICIES = {
    "topicPolicyConfig": "TopicPolicy",
    "contentPolicyConfig": "ContentPolicy",
    "wordPolicyConfig": "WordPolicy",
    "sensitiveInformationPolicyConfig": "SensitiveInformationPolicy",
    "contextualGroundingPolicyConfig": "ContextualGroundingPolicy",
}
_SUFFIX = re.compile(r"Config$")


def _described(policy: dict[str, Any] | None) -> dict[str, Any] | None:
    """A policy as a response has it: `filtersConfig` of the request is `filters` there."""
    return policy and {_SUFFIX.sub("", name): value for name, value in policy.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _find(identifier: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = bedrock._guardrails.get(identifier.rsplit("/", 1)[-1])
    return found


def _write(record: dict[str, Any], body: dict[str, Any]) -> None:
    """Put all that a request says in the record; what it leaves out is gone."""
    record |= {
        "Name": body.get("name"),
        "Description": body.get("description"),
        "BlockedInputMessaging": body.get("blockedInputMessaging"),
        "BlockedOutputsMessaging": body.get("blockedOutputsMessaging"),
        "KmsKeyArn": body.get("kmsKeyId"),
        "UpdatedAt": _now(),
        **{kept: _described(body.get(sent)) for sent, kept in _POLICIES.items()},
    }


def install() -> None:
    """Replace the operations. Fails if what they call has moved."""
    require(bedrock, "_json", "payload", "status")
    require(bedrock, "_empty", "status")
    require(bedrock, "_not_found", "message")
    _mend_guardrails()
    _mend_versions()
    # An identifier may be an ARN, whose slash arrives decoded.
    bedrock._GUARDRAIL_RE = re.compile(r"^/guardrails/(.+)$")


def _mend_guardrails() -> None:
    def _create_guardrail(body: Any) -> Any:
        response = stock_create(body)
        if response[0] != 202:
            return response
        made = json.loads(response[2])["guardrailId"]
        record = bedrock._guardrails.pop(made)
        tags = bedrock._tags.pop(record["GuardrailArn"], None)
        identifier = uuid.uuid4().hex[:12]
        record |= {
            "GuardrailId": identifier,
            "GuardrailArn": bedrock._guardrail_arn(identifier),
            "CreatedAt": _now(),
        }
        _write(record, json.loads(body))
        bedrock._guardrails[identifier] = record
        if tags:
            bedrock._tags[record["GuardrailArn"]] = tags
        names = ("GuardrailId", "GuardrailArn", "Version", "CreatedAt")
        return bedrock._json({name: record[name] for name in names}, status=202)

    def _get_guardrail(identifier: str, query_params: Any) -> Any:
        record, version = _find(identifier), (query_params.get("guardrailVersion") or ["DRAFT"])[0]
        if record and version != "DRAFT":
            record = bedrock._guardrail_versions.get(f"{record['GuardrailId']}/{version}")
        if record is None:
            return bedrock._not_found(f"Guardrail {identifier} version {version} not found.")
        return bedrock._json({name: value for name, value in record.items() if value is not None})

    def _update_guardrail(identifier: str, body: Any) -> Any:
        record = _find(identifier)
        if record is None:
            return bedrock._not_found(f"Guardrail {identifier} not found.")
        _write(record, json.loads(body))
        names = ("GuardrailId", "GuardrailArn", "Version", "UpdatedAt")
        return bedrock._json({name: record[name] for name in names}, status=202)

    stock_create = replace(bedrock, "_create_guardrail", _create_guardrail)
    replace(bedrock, "_get_guardrail", _get_guardrail)
    replace(bedrock, "_update_guardrail", _update_guardrail)


def _mend_versions() -> None:
    def _create_guardrail_version(identifier: str, body: Any) -> Any:
        record = _find(identifier)
        if record is None:
            return bedrock._not_found(f"Guardrail {identifier} not found.")
        response = stock_version(record["GuardrailId"], body)
        version = json.loads(response[2])["version"]
        kept = bedrock._guardrail_versions[f"{record['GuardrailId']}/{version}"]
        kept |= {"Description": json.loads(body or "{}").get("description"), "CreatedAt": _now()}
        return response

    def _delete_guardrail(identifier: str, query_params: Any) -> Any:
        record = _find(identifier)
        if record is None:
            return bedrock._not_found(f"Guardrail {identifier} not found.")
        if version := query_params.get("guardrailVersion"):
            bedrock._guardrail_versions.pop(f"{record['GuardrailId']}/{version[0]}", None)
            return bedrock._empty(status=202)
        bedrock._tags.pop(record["GuardrailArn"], None)
        return stock_delete(record["GuardrailId"], query_params)

    stock_version = replace(bedrock, "_create_guardrail_version", _create_guardrail_version)
    stock_delete = replace(bedrock, "_delete_guardrail", _delete_guardrail)
