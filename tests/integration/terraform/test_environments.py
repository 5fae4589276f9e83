"""What the four environments would be made of: planned offline by the real provider."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localstack import offline
from tests.integration.terraform.conftest import ENVIRONMENTS

Resource = dict[str, Any]
Planned = Callable[[str], dict[str, Resource]]


def cluster(plan: dict[str, Resource]) -> Resource:
    return plan["module.database.aws_rds_cluster.this"]


def capacity(plan: dict[str, Resource]) -> tuple[float, float]:
    [scaling] = cluster(plan)["serverlessv2_scaling_configuration"]
    return scaling["min_capacity"], scaling["max_capacity"]


def retention(plan: dict[str, Resource]) -> set[int]:
    return {
        values["retention_in_days"]
        for address, values in plan.items()
        if ".aws_cloudwatch_log_group." in address
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environment_is_planned_without_aws(planned: Planned, environment: str) -> None:
    plan = planned(environment)
    names = {values["function_name"] for address, values in plan.items()
             if address.endswith(".aws_lambda_function.this")}  # fmt: skip
    assert f"chatbot-{environment}-chat-stream" in names
    assert all(name.startswith(f"chatbot-{environment}-") for name in names)
    tags = [values["tags_all"] for values in plan.values() if values.get("tags_all")]
    assert len(tags) > 100
    assert all(
        {"application": "chatbot", "environment": environment}.items() <= each.items()
        for each in tags
    )


def test_capacity_goes_to_zero_in_dev_only(planned: Planned) -> None:
    assert {each: capacity(planned(each))[0] == 0 for each in ENVIRONMENTS} == {
        "local": False, "dev": True, "staging": False, "prod": False
    }  # fmt: skip
    sizes = [capacity(planned(each)) for each in ("dev", "staging", "prod")]
    assert sizes == sorted(sizes)
    instances = [
        sum("aws_rds_cluster_instance" in address for address in planned(each))
        for each in ("dev", "staging", "prod")
    ]
    assert instances == [1, 1, 2]


def test_data_is_protected_where_people_work(planned: Planned) -> None:
    for environment in ENVIRONMENTS:
        plan = planned(environment)
        protected = environment in {"staging", "prod"}
        assert cluster(plan)["deletion_protection"] == protected
        assert cluster(plan)["skip_final_snapshot"] != protected
        for address, values in plan.items():
            if address.startswith("aws_dynamodb_table."):
                assert values["deletion_protection_enabled"] == protected
                assert values["point_in_time_recovery"][0]["enabled"]
            if ".aws_kms_key." in address:
                assert values["deletion_window_in_days"] == (30 if protected else 7)
                assert values["enable_key_rotation"]
            if address.startswith("aws_secretsmanager_secret."):
                assert values["recovery_window_in_days"] == (30 if protected else 0)
            if address.endswith("aws_s3_bucket.this"):
                assert values["force_destroy"] != protected


def test_backups_and_logs_are_kept_longer_the_more_an_environment_matters(
    planned: Planned,
) -> None:
    days = [
        cluster(planned(each))["backup_retention_period"] for each in ("dev", "staging", "prod")
    ]
    assert days == [1, 7, 35]
    assert [retention(planned(each)) for each in ("local", "dev", "staging", "prod")] == [
        {7}, {14}, {90}, {365}
    ]  # fmt: skip
    copies = {each: any("aws_backup_plan" in address for address in planned(each))
              for each in ENVIRONMENTS}  # fmt: skip
    assert copies == {"local": False, "dev": False, "staging": True, "prod": True}


def test_database_is_private_everywhere(planned: Planned) -> None:
    for environment in ENVIRONMENTS:
        plan = planned(environment)
        kinds = {address.split("[")[0].split(".")[-2] for address in plan}
        ways = {"aws_internet_gateway", "aws_nat_gateway", "aws_route", "aws_security_group_rule"}
        assert kinds.isdisjoint(ways)
        group = plan["module.database.aws_security_group.this"]
        assert not group.get("ingress")
        assert not group.get("egress")
        assert cluster(plan)["manage_master_user_password"]
        assert cluster(plan)["storage_encrypted"]
        for address, values in plan.items():
            if ".aws_subnet." in address:
                assert not values["map_public_ip_on_launch"]
            if "aws_rds_cluster_instance" in address:
                assert not values.get("publicly_accessible")


def test_secrets_are_renewed_everywhere(planned: Planned) -> None:
    for environment in ENVIRONMENTS:
        plan = planned(environment)
        rotations = [address for address in plan if "secret_rotation" in address]
        assert len(rotations) == 4
        assert all(
            plan[address]["rotation_rules"][0]["automatically_after_days"] <= 90
            for address in rotations
        )


def test_no_secret_stands_in_a_plan(planned: Planned) -> None:
    for environment in ENVIRONMENTS:
        for address, values in planned(environment).items():
            if "aws_secretsmanager_secret_version" in address:
                assert not values.get("secret_string")
                assert values["secret_string_wo"] is None
                assert values["secret_string_wo_version"] >= 1


def test_budget_and_its_reader_are_set_on_aws(planned: Planned) -> None:
    for environment in ("dev", "staging", "prod"):
        budget = planned(environment)['aws_budgets_budget.this["this"]']
        assert float(budget["limit_amount"]) > 0
        assert len(budget["notification"]) == 2
    assert not any("aws_budgets_budget" in address for address in planned("local"))


@pytest.mark.parametrize(("environment", "copies"), [("dev", "DISABLED"), ("prod", "ENABLED")])
def test_opensearch_is_an_option(
    root: Path, planned: Planned, environment: str, copies: str
) -> None:
    assert not any("opensearch" in address for address in planned(environment))
    shown = offline.plan(root, environment, "-var=opensearch=true")[1]
    made = {each["address"]: each["change"]["after"] for each in shown["resource_changes"]}
    collection = made['module.collection["this"].aws_opensearchserverless_collection.this']
    assert (collection["type"], collection["standby_replicas"]) == ("VECTORSEARCH", copies)
    assert {each["type"] for each in shown["resource_changes"] if "opensearch" in each["type"]} == {
        "aws_opensearchserverless_access_policy",
        "aws_opensearchserverless_collection",
        "aws_opensearchserverless_security_policy",
    }


def test_cloudfront_is_an_option(planned: Planned, applied: list[Resource]) -> None:
    for environment in ENVIRONMENTS:
        plan = planned(environment)
        assert not any("cloudfront" in address or "wafv2" in address for address in plan)
    made = {each["type"]: each["values"] for each in applied if "module.edge[" in each["address"]}
    distribution = made["aws_cloudfront_distribution"]
    [behavior] = distribution["default_cache_behavior"]
    assert behavior["viewer_protocol_policy"] == "https-only"
    [origin] = distribution["origin"]
    [header] = origin["custom_header"]
    assert header["name"] == "x-origin-secret"
    assert len(header["value"]) == 64
    assert distribution["web_acl_id"] == made["aws_wafv2_web_acl"]["arn"]
