"""Every statement of every policy in a state, and what is wrong with them."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Resource = dict[str, Any]


class Statement(NamedTuple):
    """Who may do what with what: `owner` is the address of the resource that has the policy."""

    owner: str
    effect: str
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: dict[str, Any]

    @property
    def text(self) -> str:
        return (
            f"{self.owner}: {self.effect} {','.join(self.principals) or 'its role'}"
            f" {','.join(self.actions)} on {','.join(self.resources)}"
        )


# Types with a policy, and the attribute that it stands in.
POLICIES = {
    "aws_iam_role_policy": "policy",
    "aws_iam_role": "assume_role_policy",
    "aws_kms_key": "policy",
    "aws_s3_bucket_policy": "policy",
    "aws_sqs_queue": "policy",
    "aws_sns_topic_policy": "policy",
}
# Where AWS knows no resource to name, or names one only when it is made. Owner, actions, resource
# and why; whatever else has a wildcard is a fault.
JUSTIFIED = (
    (r"aws_iam_role_policy", r"xray:\w+", r"\*", "X-Ray knows no resources"),
    (
        r"state_machine.*aws_iam_role_policy",
        r"logs:(\w+LogDelivery|\w*LogDeliveries|DescribeLogGroups|(Describe|Put)ResourcePolic\w+)",
        r"\*",
        "delivery of logs knows no resources",
    ),
    (r"aws_kms_key", r"kms:\w+", r"\*", "in a key's policy this is the key"),
    (
        r"aws_iam_role_policy\.api_gateway_logs",
        r"logs:\w+",
        r"arn:aws:logs:[\w-]+:\d+:log-group:\*",
        "API Gateway makes the names of its groups up",
    ),
    (
        r"database\.aws_iam_role_policy\.monitoring",
        r"logs:\w+",
        r"arn:aws:logs:\*:\*:log-group:RDSOSMetrics\*",
        "RDS has one group for all instances",
    ),
    (r"aws_iam_role_policy", r"logs:\w+", r"arn:aws:logs:\S+:log-group:[^*]+:\*", "its streams"),
    (r"aws_iam_role_policy|bucket", r"s3:\w+Object", r"arn:aws:s3:::[^*]+/\*", "its objects"),
    (r"aws_iam_role_policy", r"dynamodb:\w+", r"arn:aws:dynamodb:\S+/stream/\*", "dated by AWS"),
    (
        r"aws_iam_role_policy",
        r"secretsmanager:\w+",
        r"arn:aws:secretsmanager:[\w-]+:\d+:secret:chatbot-\w+/source/\*",
        "a secret for each source, made by clients",
    ),
    (
        r"aws_iam_role_policy",
        r"scheduler:\w+",
        r"arn:aws:scheduler:[\w-]+:\d+:schedule/chatbot-\w+-sources/\*",
        "a schedule for each source, made by clients",
    ),
    (
        r"aws_iam_role_policy",
        r"states:StopExecution",
        r"arn:aws:states:[\w-]+:\d+:execution:chatbot-\w+-chat:\*",
        "an execution for each turn",
    ),
    (
        r"aws_iam_role_policy",
        r"execute-api:ManageConnections",
        r"arn:aws:execute-api:[\w-]+:\d+:\w+/ws/(DELETE|POST)/@connections/\*",
        "connections of our one API",
    ),
    (
        r"aws_iam_role_policy",
        r"bedrock:Invoke\w+",
        r"arn:aws:bedrock:\*::foundation-model/[\w.:-]+",
        "a profile routes to regions that AWS chooses",
    ),
)


def _listed(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _principals(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(
        f"{kind}:{name}" for kind, names in (value or {}).items() for name in _listed(names)
    )


def statements(resources: Iterable[Resource]) -> Iterator[Statement]:
    """All statements, of roles, of who may take them, of keys, buckets and queues."""
    for resource in resources:
        policy = resource["values"].get(POLICIES.get(resource["type"], ""))
        if not policy or not policy.startswith("{"):  # a mock makes text up where none is given
            continue
        for statement in json.loads(policy)["Statement"]:
            yield Statement(
                resource["address"],
                statement["Effect"],
                _principals(statement.get("Principal")),
                _listed(statement["Action"]),
                _listed(statement.get("Resource")),
                statement.get("Condition", {}),
            )


def _is_justified(owner: str, action: str, resource: str) -> bool:
    return any(
        re.search(where, owner) and re.fullmatch(what, action) and re.fullmatch(which, resource)
        for where, what, which, _ in JUSTIFIED
    )


def faults(found: Iterable[Statement]) -> list[str]:
    """What a reviewer would not let pass, one line each."""
    wrong = []
    for one in found:
        if one.effect == "Deny":
            continue
        if any("*" in action for action in one.actions):
            wrong.append(f"wildcard action: {one.text}")
        wrong += [
            f"wildcard resource: {one.owner}: {action} on {resource}"
            for action in one.actions
            for resource in one.resources
            if "*" in resource and not _is_justified(one.owner, action, resource)
        ]
        if any(principal.endswith("*") for principal in one.principals):
            wrong.append(f"anybody: {one.text}")
    return wrong
