"""Least privilege, statement by statement, as production is made with every option."""

import json
import re
import sys
from typing import Any

import pytest

from tests.integration.terraform.statements import POLICIES, Statement, faults, statements

Resource = dict[str, Any]


@pytest.fixture(scope="module")
def found(applied: list[Resource]) -> list[Statement]:
    every = list(statements(applied))
    sys.stdout.write("\n".join(one.text for one in every))  # shown where a test fails, and by -s
    return every


def of_type(applied: list[Resource], kind: str) -> dict[str, Resource]:
    return {each["address"]: each["values"] for each in applied if each["type"] == kind}


def role_of(address: str) -> str:
    return address.replace("aws_iam_role_policy", "aws_iam_role")


def test_no_statement_has_a_wildcard_that_is_not_justified(found: list[Statement]) -> None:
    assert len(found) > 200
    assert faults(found) == []


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ({"actions": ("dynamodb:*",)}, "wildcard action"),
        ({"actions": ("s3:Get*",), "effect": "Deny"}, None),
        ({"resources": ("*",)}, "wildcard resource"),
        ({"resources": ("arn:aws:dynamodb:us-east-1:123456789012:table/*",)}, "wildcard resource"),
        ({"principals": ("AWS:*",)}, "anybody"),
        ({"actions": ("xray:PutTraceSegments",), "resources": ("*",)}, None),
        ({"actions": ("xray:PutTraceSegments", "kms:Decrypt"), "resources": ("*",)}, "wildcard"),
        ({}, None),
    ],
)
def test_wildcard_is_found_when_one_is_planted(planted: dict[str, Any], fault: str | None) -> None:
    good = Statement(
        'module.function["x"].aws_iam_role_policy.this', "Allow", (), ("dynamodb:GetItem",),
        ("arn:aws:dynamodb:us-east-1:123456789012:table/x",), {},
    )  # fmt: skip
    wrong = faults([good._replace(**planted)])
    assert [fault in line for line in wrong] == [True] if fault else wrong == []


def test_every_role_has_one_policy_and_no_other_way_to_permissions(
    applied: list[Resource],
) -> None:
    roles = of_type(applied, "aws_iam_role")
    attached = {
        address: values["policy_arn"]
        for address, values in of_type(applied, "aws_iam_role_policy_attachment").items()
    }
    # Kept by AWS itself, for the service that alone may take the role.
    assert attached == {
        'module.backup["this"].aws_iam_role_policy_attachment.this': (
            "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup"
        )
    }
    owned = [role_of(address) for address in of_type(applied, "aws_iam_role_policy")]
    backup = 'module.backup["this"].aws_iam_role.this'
    assert sorted([*owned, backup]) == sorted(roles)
    known = {"aws_iam_role", "aws_iam_role_policy", "aws_iam_role_policy_attachment"}
    assert {each["type"] for each in applied if each["type"].startswith("aws_iam_")} == known


def test_every_role_is_taken_by_one_service_within_the_boundary(
    applied: list[Resource], found: list[Statement]
) -> None:
    roles = of_type(applied, "aws_iam_role")
    for address, values in roles.items():
        [trust] = [one for one in found if one.owner == address]
        assert trust.actions == ("sts:AssumeRole",)
        [principal] = trust.principals
        assert re.fullmatch(r"Service:[\w.-]+\.amazonaws\.com", principal)
        assert values["permissions_boundary"] == "arn:aws:iam::123456789012:policy/boundary"


def test_every_policy_that_there_is_was_read(
    applied: list[Resource], found: list[Statement]
) -> None:
    read = {one.owner for one in found}
    for each in applied:
        for name, value in each["values"].items():
            if "policy" in name and isinstance(value, str) and '"Statement"' in value:
                assert POLICIES.get(each["type"]) == name
                assert each["address"] in read
    assert {one for one in read if "aws_iam_role_policy" in one} == set(
        of_type(applied, "aws_iam_role_policy")
    )


def test_secrets_are_read_by_those_who_need_them_alone(found: list[Statement]) -> None:
    def readers(name: str) -> set[str]:
        return {
            match[1]
            for one in found
            if "secretsmanager:GetSecretValue" in one.actions
            and any(resource.endswith(name) for resource in one.resources)
            if (match := re.search(r'module\.function\["(\w+)"\]', one.owner))
        }

    assert readers(":secret:master") == {"migrate"}
    assert readers(":secret:signing") == {"auth", "authorizer", "rotate_signing_key"}
    everybody = {one.owner for one in found if "secretsmanager:GetSecretValue" in one.actions}
    assert all(owner.startswith("module.function[") for owner in everybody)


def test_functions_answer_nobody_but_the_services_that_call_them(
    applied: list[Resource],
) -> None:
    permissions = of_type(applied, "aws_lambda_permission")
    assert permissions
    for values in permissions.values():
        assert values["action"] == "lambda:InvokeFunction"
        assert values["qualifier"] == "live"
        assert values["source_arn"] or values["source_account"] == "123456789012"
        assert values["principal"] in {
            "apigateway.amazonaws.com",
            "events.amazonaws.com",
            "secretsmanager.amazonaws.com",
        }


def test_what_is_kept_is_encrypted_with_a_key_of_ours(applied: list[Resource]) -> None:
    keys = ("kms_key_arn", "kms_key_id", "kms_master_key_id")
    kinds = {
        "aws_backup_vault", "aws_cloudwatch_log_group", "aws_lambda_function", "aws_rds_cluster",
        "aws_secretsmanager_secret", "aws_sns_topic",
    }  # fmt: skip
    seen = set()
    for each in applied:
        if each["type"] in kinds:
            seen.add(each["type"])
            assert any(":key/" in (each["values"].get(key) or "") for key in keys), each["address"]
    assert seen == kinds
    for values in of_type(applied, "aws_dynamodb_table").values():
        assert ":key/" in json.dumps(values["server_side_encryption"])
