"""A guardrail of Bedrock is read as it was written, by id and by ARN, in each of its versions.

Quoted: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetGuardrail.html and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailStreamConfiguration.html.
"""

import re
import uuid
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.integration.parity.gateway import Server

MESSAGES = {"blockedInputMessaging": "Not asked.", "blockedOutputsMessaging": "Not answered."}


def client(server: Server) -> Any:
    return boto3.client(
        "bedrock",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def made(bedrock: Any, **more: Any) -> dict[str, Any]:
    name = f"guardrail-{uuid.uuid4().hex[:8]}"
    answer: dict[str, Any] = bedrock.create_guardrail(name=name, **MESSAGES, **more)
    return answer


def test_policies_are_read_by_the_names_of_the_response(server: Server) -> None:
    """GetGuardrail: `contentPolicy.filters`, `wordPolicy.words` and `.managedWordLists`,
    `sensitiveInformationPolicy.piiEntities`."""
    bedrock = client(server)
    filters = [{"type": "HATE", "inputStrength": "HIGH", "outputStrength": "LOW"}]
    identifier = made(
        bedrock,
        contentPolicyConfig={"filtersConfig": filters},
        wordPolicyConfig={
            "wordsConfig": [{"text": "moonshot"}],
            "managedWordListsConfig": [{"type": "PROFANITY"}],
        },
        sensitiveInformationPolicyConfig={
            "piiEntitiesConfig": [{"type": "EMAIL", "action": "BLOCK"}]
        },
    )["guardrailId"]
    read = bedrock.get_guardrail(guardrailIdentifier=identifier)
    assert read["contentPolicy"]["filters"] == filters
    assert read["wordPolicy"] == {
        "words": [{"text": "moonshot"}],
        "managedWordLists": [{"type": "PROFANITY"}],
    }
    [entity] = read["sensitiveInformationPolicy"]["piiEntities"]
    assert (entity["type"], entity["action"]) == ("EMAIL", "BLOCK")


def test_id_is_one_that_requests_may_name(server: Server) -> None:
    """GuardrailIdentifier: "Pattern: (|([a-z0-9]+)|(arn:…:guardrail/[a-z0-9]+))"."""
    assert re.fullmatch(r"[a-z0-9]+", made(client(server))["guardrailId"])


def test_guardrail_is_found_by_its_arn(server: Server) -> None:
    """CreateGuardrailVersion: "The unique identifier of the guardrail. This can be an ID or the
    ARN."; a version has a description of its own, and stays as it was."""
    bedrock = client(server)
    arn = made(bedrock, description="draft")["guardrailArn"]
    version = bedrock.create_guardrail_version(guardrailIdentifier=arn, description="first")
    bedrock.update_guardrail(
        guardrailIdentifier=arn, name="renamed-" + uuid.uuid4().hex[:8], **MESSAGES
    )
    first = bedrock.get_guardrail(guardrailIdentifier=arn, guardrailVersion=version["version"])
    assert (first["version"], first["description"]) == ("1", "first")
    assert first["name"].startswith("guardrail-")
    draft = bedrock.get_guardrail(guardrailIdentifier=arn)
    assert draft["name"].startswith("renamed-")
    assert "description" not in draft, "an update replaces the whole"


def test_one_version_is_deleted_and_the_rest_stays(server: Server) -> None:
    """DeleteGuardrail: "To delete a version of a guardrail, specify the ARN … and the version"."""
    bedrock = client(server)
    identifier = made(bedrock)["guardrailId"]
    for _ in range(2):
        bedrock.create_guardrail_version(guardrailIdentifier=identifier)
    bedrock.delete_guardrail(guardrailIdentifier=identifier, guardrailVersion="1")
    assert bedrock.get_guardrail(guardrailIdentifier=identifier)["version"] == "DRAFT"
    second = bedrock.get_guardrail(guardrailIdentifier=identifier, guardrailVersion="2")
    assert second["version"] == "2"
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        bedrock.get_guardrail(guardrailIdentifier=identifier, guardrailVersion="1")
