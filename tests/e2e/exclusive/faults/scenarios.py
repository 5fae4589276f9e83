"""The scenario file: how AWS fails, what is done meanwhile, and for how long.

`rules` are microburst's (its README: "Rules"); `service` is botocore's name, `bedrock` is the
model's endpoint. What must hold afterwards stands with the deeds (`deeds.py`) and in
`test_scenarios.py`: nothing lost, nothing doubled, nothing left hanging. `make test` runs the
`quick` ones, `make faults` all.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from tests.e2e.exclusive.faults.deeds import (
    Answered,
    Documents,
    Ingestion,
    Make,
    Resources,
    SignIns,
    Turns,
)

type Rule = dict[str, Any]


class Scenario(NamedTuple):
    """`seconds` is how long the faults last, unless the deed is done before. `meanwhile` also
    kills workers or restarts PostgreSQL, all that time. `skew` has the workers' clocks be wrong by
    up to so many seconds."""

    name: str
    deed: Make
    rules: Sequence[Rule] = ()
    seconds: float = 20
    meanwhile: str | None = None
    skew: float = 0
    quick: bool = False


def fails(service: str, code: str, status: int = 400, **more: Any) -> Rule:
    return {"service": service, "error": {"code": code, "status": status}, **more}


def loses_answers(service: str, **more: Any) -> Rule:
    """What is asked is done, and the connection cut instead of answered."""
    return {"service": service, "response": {"abort_bytes": 0}, **more}


def cuts(service: str, **more: Any) -> Rule:
    """The connection is cut before anything is done."""
    return {"service": service, "reset": True, **more}


def slow(service: str, low: int, high: int, **more: Any) -> Rule:
    return {"service": service, "latency": {"min": low, "max": high}, **more}


STREAM = "messages"  # in the body of a question to the model
VECTOR = "inputText"  # in the body of a text to be embedded

SCENARIOS = [
    # DynamoDB
    Scenario(
        "dynamodb throttles a third",
        Turns,
        [fails("dynamodb", "ProvisionedThroughputExceededException", probability=0.3)],
        quick=True,
    ),
    Scenario(
        "dynamodb throttles everything for ten seconds",
        Turns,
        [fails("dynamodb", "ThrottlingException")],
        seconds=10,
    ),
    Scenario(
        "dynamodb fails a fifth",
        Turns,
        [fails("dynamodb", "InternalServerError", 500, probability=0.2)],
    ),
    Scenario(
        "dynamodb refuses a third of the frames",
        partial(Turns, words="[[words 300]] [[pace 10]]"),
        [fails("dynamodb", "InternalServerError", 500, operation="PutItem", probability=0.3)],
    ),
    Scenario(
        "dynamodb's answers are lost",
        Turns,
        [loses_answers("dynamodb", probability=0.15)],
    ),
    Scenario(
        "dynamodb loses the answers to transactions",
        Turns,
        [
            loses_answers(
                "dynamodb", operation="TransactWriteItems", sequence={"fail": 2, "pass": 1}
            )
        ],
    ),
    Scenario(
        "dynamodb loses all answers to transactions for a while",
        Turns,
        [loses_answers("dynamodb", operation="TransactWriteItems")],
        seconds=8,
    ),
    Scenario("dynamodb is slow", Turns, [slow("dynamodb", 200, 900)]),
    Scenario(
        "dynamodb throttles rest",
        Resources,
        [fails("dynamodb", "ThrottlingException", probability=0.6)],
    ),
    Scenario(
        "dynamodb throttles documents",
        Documents,
        [fails("dynamodb", "ProvisionedThroughputExceededException", probability=0.4)],
    ),
    Scenario(
        "dynamodb loses answers about documents",
        Documents,
        [loses_answers("dynamodb", probability=0.2)],
    ),
    Scenario(
        "dynamodb throttles ingestion",
        Ingestion,
        [fails("dynamodb", "ThrottlingException", probability=0.4)],
    ),
    Scenario(
        "dynamodb loses answers about ingestion",
        Ingestion,
        [loses_answers("dynamodb", probability=0.2)],
    ),
    # The Data API
    Scenario(
        "data api throttles half",
        Resources,
        [fails("rds-data", "ThrottlingException", 429, probability=0.5)],
    ),
    Scenario(
        "data api's answers are lost",
        Resources,
        [loses_answers("rds-data", probability=0.4)],
    ),
    Scenario(
        "data api fails",
        Resources,
        [fails("rds-data", "InternalServerErrorException", 500, probability=0.5)],
    ),
    Scenario("data api is slow", Resources, [slow("rds-data", 500, 3000)]),
    Scenario("data api connections are cut", Resources, [cuts("rds-data", probability=0.5)]),
    Scenario(
        "data api wakes up",
        Turns,
        [fails("rds-data", "DatabaseResumingException")],
        seconds=8,
    ),
    Scenario(
        "data api fails turns",
        Turns,
        [fails("rds-data", "ServiceUnavailableError", 503, probability=0.5)],
    ),
    Scenario(
        "data api fails while documents are embedded",
        Documents,
        [fails("rds-data", "InternalServerErrorException", 500, probability=0.3)],
    ),
    Scenario(
        "data api's answers are lost while documents are embedded",
        Documents,
        [loses_answers("rds-data", probability=0.3)],
    ),
    Scenario(
        "data api throttles sign-in",
        SignIns,
        [fails("rds-data", "ThrottlingException", 429, probability=0.5)],
    ),
    # Bedrock
    Scenario(
        "bedrock throttles two of three",
        Answered,
        [fails("bedrock", "ThrottlingException", 429, sequence={"fail": 2, "pass": 1})],
    ),
    Scenario(
        "bedrock throttles everything",
        Turns,
        [fails("bedrock", "ThrottlingException", 429, body=STREAM)],
        seconds=50,
    ),
    Scenario(
        "bedrock fails once each",
        Answered,
        [fails("bedrock", "ServiceUnavailableException", 503, times=6)],
    ),
    Scenario(
        "bedrock refuses",
        Turns,
        [fails("bedrock", "AccessDeniedException", 403, body=STREAM)],
        seconds=30,
    ),
    Scenario(
        "bedrock breaks off with an error in its stream",
        Turns,
        [
            {
                "service": "bedrock",
                "response": {
                    "event_error": {
                        "code": "modelStreamErrorException",
                        "message": "broken",
                        "after_frames": 20,
                    }
                },
            }
        ],
    ),
    Scenario(
        "bedrock's stream is cut in the middle of a frame",
        Turns,
        [{"service": "bedrock", "response": {"event_frames": [{"at": 15, "cut": 0.5}]}}],
        quick=True,
    ),
    Scenario(
        "bedrock's stream is cut after a while",
        Turns,
        [{"service": "bedrock", "response": {"abort_bytes": 3000}}],
    ),
    Scenario(
        "bedrock's stream is corrupted",
        Turns,
        [{"service": "bedrock", "response": {"event_frames": [{"at": 12, "bad_crc": True}]}}],
    ),
    Scenario(
        "bedrock's stream is slow",
        Answered,
        [{"service": "bedrock", "response": {"bandwidth_kbps": 2}}],
        seconds=40,
    ),
    Scenario("bedrock's connections are cut", Answered, [cuts("bedrock", times=8)]),
    Scenario(
        "bedrock throttles embeddings",
        Documents,
        [fails("bedrock", "ThrottlingException", 429, body=VECTOR, probability=0.6)],
    ),
    Scenario(
        "bedrock fails while a source is read",
        Ingestion,
        [fails("bedrock", "InternalServerException", 500, body=VECTOR, probability=0.5)],
    ),
    # Secrets Manager
    Scenario(
        "secrets manager throttles",
        SignIns,
        [fails("secretsmanager", "ThrottlingException", 400, sequence={"fail": 4, "pass": 1})],
        quick=True,
    ),
    Scenario(
        "secrets manager is away",
        SignIns,
        [fails("secretsmanager", "InternalServiceError", 500)],
        seconds=8,
    ),
    Scenario("secrets manager is slow", SignIns, [slow("secretsmanager", 1500, 4000)]),
    Scenario(
        "secrets manager fails while a source is read",
        Ingestion,
        [fails("secretsmanager", "InternalServiceError", 500, times=5)],
    ),
    # Step Functions
    Scenario(
        "start execution is throttled",
        Answered,
        [fails("stepfunctions", "ThrottlingException", 400, sequence={"fail": 2, "pass": 1})],
    ),
    Scenario(
        "start execution fails",
        Turns,
        [fails("stepfunctions", "InternalFailure", 500, operation="StartExecution")],
        quick=True,
    ),
    Scenario(
        "start execution's answers are lost",
        Answered,
        [loses_answers("stepfunctions", sequence={"fail": 2, "pass": 1})],
    ),
    Scenario(
        "start execution's answers are all lost",
        Turns,
        [loses_answers("stepfunctions")],
    ),
    Scenario(
        "a run cannot be started",
        Ingestion,
        [cuts("stepfunctions")],
        seconds=6,
    ),
    # S3
    Scenario(
        "s3 slows down",
        Documents,
        [fails("s3", "SlowDown", 503, probability=0.5)],
    ),
    Scenario(
        "s3 fails for ten seconds",
        Documents,
        [fails("s3", "InternalError", 500)],
        seconds=10,
    ),
    Scenario("s3 connections are cut", Documents, [loses_answers("s3", probability=0.4)]),
    Scenario(
        "s3 slows down while a source is read",
        Ingestion,
        [fails("s3", "SlowDown", 503, probability=0.4)],
    ),
    # SQS
    Scenario(
        "sqs fails",
        Turns,
        [fails("sqs", "InternalError", 500, probability=0.7)],
    ),
    Scenario("sqs is away", Turns, [fails("sqs", "ServiceUnavailable", 503)], seconds=8),
    # The way to clients
    Scenario(
        "frames are throttled",
        Turns,
        [fails("apigatewaymanagementapi", "LimitExceededException", 429, probability=0.3)],
    ),
    Scenario(
        "frames are lost on the way",
        Turns,
        [
            cuts("apigatewaymanagementapi", probability=0.2),
            loses_answers("apigatewaymanagementapi", probability=0.2),
        ],
    ),
    # Everything
    Scenario(
        "tokens have expired",
        Turns,
        [fails("*", "ExpiredTokenException", times=12, probability=0.3)],
    ),
    Scenario(
        "tokens have expired for rest",
        Resources,
        [fails("*", "ExpiredTokenException", times=12, probability=0.3)],
    ),
    Scenario(
        "tokens have expired while a source is read",
        Ingestion,
        [fails("*", "ExpiredTokenException", times=8, probability=0.2)],
    ),
    Scenario(
        "requests are refused for their time",
        Turns,
        [fails("*", "RequestTimeTooSkewed", 403, times=12, probability=0.3)],
    ),
    Scenario("clocks are apart: turns", Answered, skew=2),
    Scenario("clocks are apart: sign-in", SignIns, skew=2, quick=True),
    Scenario("clocks are apart: a source", Ingestion, skew=2),
    Scenario("connections are slow", Turns, [slow("*", 50, 600)]),
    Scenario("connections are cut", Turns, [cuts("*", probability=0.15)]),
    Scenario("connections are cut: documents", Documents, [cuts("*", probability=0.15)]),
    Scenario("connections are cut: a source", Ingestion, [cuts("*", probability=0.15)]),
    # Processes
    Scenario("workers are killed", Turns, meanwhile="kill"),
    Scenario("workers are killed: documents", Documents, meanwhile="kill", seconds=8),
    Scenario("workers are killed: rest", Resources, meanwhile="kill", seconds=10),
    Scenario(
        "workers are killed and dynamodb throttles",
        Turns,
        [fails("dynamodb", "ThrottlingException", probability=0.2)],
        meanwhile="kill",
    ),
    Scenario("postgresql is restarted: rest", Resources, meanwhile="restart"),
    Scenario("postgresql is restarted: turns", Turns, meanwhile="restart"),
    Scenario("postgresql is restarted: documents", Documents, meanwhile="restart"),
    Scenario("postgresql is restarted: a source", Ingestion, meanwhile="restart"),
]
