"""Event source mappings: DynamoDB streams and SQS.

Quoted from https://docs.aws.amazon.com/lambda/latest/dg/: with-ddb, services-ddb-errors,
services-ddb-batchfailurereporting, with-sqs, services-sqs-errorhandling.
"""

import json
import time
import uuid
from typing import Any

from tests.integration.parity.gateway import Server, wait_until

QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:"

# Keeps the batches it saw, and fails as the environment says: on the item whose id is POISON.
CONSUMER = """
import json, os

def identify(record):
    return record["dynamodb"]["Keys"]["id"]["S"] if "dynamodb" in record else record["body"]

def number(record):
    return record["dynamodb"]["SequenceNumber"] if "dynamodb" in record else record["messageId"]

def handler(event, context):
    ids = [identify(record) for record in event["Records"]]
    with open(os.environ["KEPT"], "a") as kept:
        kept.write(json.dumps(ids) + "\\n")
    poison = os.environ.get("POISON")
    if poison in ids and os.environ["HOW"] == "raise":
        raise ValueError(poison)
    if poison in ids and os.environ["HOW"] == "empty":
        return {"batchItemFailures": [{"itemIdentifier": ""}]}
    failed = [number(record) for record in event["Records"] if identify(record) == poison]
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}
"""


class Consumer:
    """A function that keeps the batches it gets."""

    def __init__(self, server: Server, **variables: str) -> None:
        self._kept = server.directory / f"consumer-{uuid.uuid4().hex}"
        environment = {"KEPT": str(self._kept), "HOW": "report", **variables}
        self.name = server.function(CONSUMER, Environment={"Variables": environment})

    def batches(self) -> list[list[str]]:
        """The ids of each batch so far."""
        if not self._kept.exists():
            return []
        return [json.loads(line) for line in self._kept.read_text().splitlines()]

    def ids(self) -> list[str]:
        """The ids of all batches so far."""
        return [item for batch in self.batches() for item in batch]


def stream_of(server: Server) -> tuple[str, str]:
    """A new table, and the ARN of its stream."""
    name = f"parity-{uuid.uuid4().hex[:8]}"
    table = server.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    return name, table["LatestStreamArn"]


def queue_of(server: Server, **attributes: str) -> tuple[str, str]:
    """A new queue's URL and ARN."""
    name = f"parity-{uuid.uuid4().hex[:8]}"
    created = server.client("sqs").create_queue(QueueName=name, Attributes=attributes)
    return created["QueueUrl"], QUEUE_ARN + name


def consume(server: Server, consumer: Consumer, source: str, **options: Any) -> None:
    """Map the source to the function; streams from their beginning."""
    if ":dynamodb:" in source:
        options["StartingPosition"] = "TRIM_HORIZON"
    server.client("lambda").create_event_source_mapping(
        FunctionName=consumer.name,
        EventSourceArn=source,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        **options,
    )


def put(server: Server, table: str, ids: str, **attributes: str) -> None:
    """Write an item for each letter."""
    client = server.client("dynamodb")
    extra = {name: {"S": value} for name, value in attributes.items()}
    for item in ids:
        client.put_item(TableName=table, Item={"id": {"S": item}, **extra})


def message(server: Server, url: str, seconds: int = 20) -> Any:
    """The body of the queue's next message, parsed."""
    received = server.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=seconds)
    return json.loads(received["Messages"][0]["Body"])


def test_stream_goes_on_from_the_failed_record_when_function_reports_it(server: Server) -> None:
    """ "Lambda uses the lowest sequence number as the checkpoint ... and retries all records
    starting from that checkpoint"; after the last retry a record of the rest is sent on."""
    table, stream = stream_of(server)
    failed_url, failed_arn = queue_of(server)
    consumer = Consumer(server, POISON="c")
    put(server, table, "abcd")
    consume(
        server,
        consumer,
        stream,
        MaximumRetryAttempts=2,
        DestinationConfig={"OnFailure": {"Destination": failed_arn}},
    )
    record = message(server, failed_url, 6)
    assert consumer.batches() == [list("abcd"), list("cd"), list("cd")]
    assert record["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert record["DDBStreamBatchInfo"]["batchSize"] == 2
    assert record["DDBStreamBatchInfo"]["streamArn"] == stream
    put(server, table, "e")
    assert wait_until(lambda: consumer.batches()[-1] == ["e"], 10)


def test_batch_is_split_when_function_fails_and_bisect_is_on(server: Server) -> None:
    """ "BisectBatchOnFunctionError: ... split the batch in two and retry", which "does not count
    against retries": only the bad record is lost."""
    table, stream = stream_of(server)
    failed_url, failed_arn = queue_of(server)
    consumer = Consumer(server, POISON="c", HOW="raise")
    put(server, table, "abcd")
    consume(
        server,
        consumer,
        stream,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": failed_arn}},
    )
    record = message(server, failed_url, 6)
    assert record["DDBStreamBatchInfo"]["batchSize"] == 1
    assert wait_until(lambda: "d" in consumer.batches()[-1], 10)
    assert consumer.batches() == [
        list("abcd"),
        list("ab"),
        list("cd"),
        ["c"],
        ["c"],
        ["d"],
    ]


def test_stream_is_blocked_and_loses_nothing_when_retries_are_not_limited(stack: Server) -> None:
    """ "the default value is infinite": the same batch comes again, in order, until it succeeds."""
    table, stream = stream_of(stack)
    consumer = Consumer(stack, POISON="b", HOW="raise")
    put(stack, table, "ab")
    consume(stack, consumer, stream)
    assert wait_until(lambda: len(consumer.batches()) >= 3, 10)
    client = stack.client("lambda")
    client.update_function_configuration(
        FunctionName=consumer.name,
        Environment={"Variables": {"KEPT": str(consumer._kept), "HOW": "raise", "POISON": "none"}},
    )
    put(stack, table, "c")
    assert wait_until(lambda: consumer.batches()[-1] == ["c"], 20)
    assert set(map(tuple, consumer.batches()[:-1])) == {("a", "b")}


def test_filter_chooses_records_when_status_is_pending_or_item_is_removed(stack: Server) -> None:
    """ "filter criteria" on `dynamodb.NewImage` and `eventName`; the others are passed over."""
    table, stream = stream_of(stack)
    consumer = Consumer(stack)
    patterns = [
        {"dynamodb": {"NewImage": {"status": {"S": ["pending"]}}}},
        {"eventName": ["REMOVE"]},
    ]
    consume(
        stack,
        consumer,
        stream,
        FilterCriteria={"Filters": [{"Pattern": json.dumps(each)} for each in patterns]},
    )
    put(stack, table, "ab", status="pending")
    put(stack, table, "a", status="embedded")
    put(stack, table, "c")
    stack.client("dynamodb").delete_item(TableName=table, Key={"id": {"S": "c"}})
    assert wait_until(lambda: len(consumer.ids()) >= 3, 10)
    assert consumer.ids() == ["a", "b", "c"]


def test_slow_stream_holds_up_no_other_when_its_function_is_busy(server: Server) -> None:
    """Each mapping has its own pollers."""
    table, stream = stream_of(server)
    begun = server.directory / f"begun-{uuid.uuid4().hex}"
    slow = server.function(
        f"""
        import pathlib, time

        def handler(event, context):
            pathlib.Path("{begun}").touch()
            time.sleep(4)
        """
    )
    put(server, table, "a")
    server.client("lambda").create_event_source_mapping(
        FunctionName=slow, EventSourceArn=stream, StartingPosition="TRIM_HORIZON"
    )
    assert wait_until(begun.exists, 5)
    other, other_stream = stream_of(server)
    consumer = Consumer(server)
    put(server, other, "x")
    consume(server, consumer, other_stream)
    assert wait_until(consumer.batches, 3) == [["x"]]


def test_only_failed_messages_come_again_when_function_reports_them(stack: Server) -> None:
    """ "Lambda ... makes only the failed messages visible again"; they redrive as it says."""
    dead_url, dead_arn = queue_of(stack)
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "2"})
    url, arn = queue_of(stack, VisibilityTimeout="1", RedrivePolicy=policy)
    client = stack.client("sqs")
    for body in "abc":
        client.send_message(QueueUrl=url, MessageBody=f'"{body}"')
    consumer = Consumer(stack, POISON='"b"')
    consume(stack, consumer, arn)
    assert message(stack, dead_url) == "b"
    assert sorted(consumer.ids()) == ['"a"', '"b"', '"b"', '"c"']


def test_all_messages_come_again_when_answer_is_malformed(server: Server) -> None:
    """ "Lambda treats a batch as a complete failure if ... An empty string itemIdentifier" """
    dead_url, dead_arn = queue_of(server)
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "1"})
    url, arn = queue_of(server, VisibilityTimeout="1", RedrivePolicy=policy)
    consumer = Consumer(server, POISON='"b"', HOW="empty")
    consume(server, consumer, arn)
    # A function that has answered once does not fail for being slow to start.
    server.client("sqs").send_message(QueueUrl=url, MessageBody='"a"')
    assert wait_until(consumer.ids, 20) == ['"a"']
    server.client("sqs").send_message(QueueUrl=url, MessageBody='"b"')
    assert message(server, dead_url, 5) == "b"


def test_message_comes_late_when_it_is_sent_with_a_delay(stack: Server) -> None:
    """ "DelaySeconds: the length of time ... for which to delay a specific message" """
    url, arn = queue_of(stack)
    consumer = Consumer(stack)
    consume(stack, consumer, arn)
    client = stack.client("sqs")
    began = time.monotonic()
    client.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=2)
    client.send_message(QueueUrl=url, MessageBody="now")
    assert wait_until(consumer.batches, 5) == [["now"]]
    assert wait_until(lambda: consumer.batches()[1:], 10) == [["late"]]
    assert 2 <= time.monotonic() - began < 5
