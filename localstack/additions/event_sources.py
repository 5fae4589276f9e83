"""Event source mappings from DynamoDB streams and SQS, with AWS's handling of failures.

MiniStack ignores `ReportBatchItemFailures`, `BisectBatchOnFunctionError` and
`MaximumRetryAttempts` of a stream's mapping, and lets one slow function hold up every stream.
"""

import threading
import time
from typing import Any

from ministack.core.concurrency import spawn_background
from ministack.core.responses import request_scope
from ministack.services import dynamodb, lambda_svc, sqs

from localstack.additions.seam import replace, require

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0

Json = dict[str, Any]

_busy: set[str] = set()
_busy_lock = threading.Lock()


def failed_items(mapping: Json, answer: Any, known: list[str]) -> set[str]:
    """Which of the known items failed, by a function's answer: https://docs.aws.amazon.com/lambda/
    latest/dg/services-ddb-batchfailurereporting.html ("Success and failure conditions").

    Without `ReportBatchItemFailures`, and for an empty or null list: none. For a malformed answer,
    or an item that is empty or unknown: all.
    """
    if "ReportBatchItemFailures" not in (mapping.get("FunctionResponseTypes") or []) or not answer:
        return set()
    failures = answer.get("batchItemFailures", []) if isinstance(answer, dict) else [None]
    if not isinstance(failures, list | None):
        return set(known)
    items = [str(each.get("itemIdentifier")) for each in failures or [] if isinstance(each, dict)]
    malformed = len(items) < len(failures or []) or not set(items) <= set(known)
    return set(known) if malformed else set(items)


def _run_sqs_batch(
    esm: Json, func_rec: Json, event: Json, batch: list[Json], queue_url: str, queue_name: str
) -> None:
    """Call the function with messages; what failed comes back after its visibility timeout."""
    result = lambda_svc._execute_function(func_rec, event)
    known = [message["id"] for message in batch]
    failed = set(known) if result.get("error") else failed_items(esm, result.get("body"), known)
    done = {message["receipt_handle"] for message in batch if message["id"] not in failed}
    sqs._delete_messages_for_esm(queue_url, done)
    esm["LastProcessingResult"] = "FAILED" if failed else f"OK - {len(batch)} records"
    if failed:
        lambda_svc.logger.warning(
            "%s failed on %d of %d messages of %s",
            esm["FunctionName"],
            len(failed),
            len(batch),
            queue_name,
        )


def _poll_dynamodb_streams() -> bool:
    """Start a reader for every stream mapping that has records and no reader yet."""
    started = False
    for account, region, mapping in list(lambda_svc._iter_all_esms()):
        with request_scope(account, region):
            table = _table(mapping)
            if table is None or not mapping.get("Enabled", True):
                continue
            with lambda_svc._dynamodb_stream_positions_lock:
                position = _position(mapping, table)
            if position == dynamodb.stream_end_position(table):
                continue
            with _busy_lock:
                if mapping["UUID"] in _busy:
                    continue
                _busy.add(mapping["UUID"])
            spawn_background(_read, mapping, table, thread_name="stream-mapping")
            started = True
    return started


def _table(mapping: Json) -> str | None:
    """The table whose current stream the mapping reads, None if it reads none."""
    arn = mapping.get("EventSourceArn", "")
    if ":dynamodb:" not in arn or "/stream/" not in arn:
        return None
    name = arn.split("/stream/")[0].split("/")[-1]
    table = dynamodb._tables.get(name)
    return str(name) if table and table.get("LatestStreamArn") == arn else None


def _position(mapping: Json, table: str) -> int:
    """The next record's position: never one that has expired, nor one beyond the end, which a
    killed gateway can leave, as it saves positions and streams one after the other."""
    positions = lambda_svc._dynamodb_stream_positions
    horizon: int = dynamodb.stream_start_position(table)
    end: int = dynamodb.stream_end_position(table)
    if mapping["UUID"] not in positions:
        latest = mapping.get("StartingPosition", "LATEST") == "LATEST"
        positions[mapping["UUID"]] = end if latest else horizon
    positions[mapping["UUID"]] = min(max(positions[mapping["UUID"]], horizon), end)
    found: int = positions[mapping["UUID"]]
    return found


def _read(mapping: Json, table: str) -> None:
    """Deliver batches until the stream has no more, or the mapping is gone or disabled."""
    try:
        while lambda_svc._esms.get(mapping["UUID"]) is mapping and mapping.get("Enabled", True):
            with lambda_svc._dynamodb_stream_positions_lock:
                position = _position(mapping, table)
            records = dynamodb.stream_records_since(table, position, mapping.get("BatchSize", 100))
            if not records:
                return
            chosen = lambda_svc._apply_filter_criteria(records, mapping)
            if chosen and not _deliver(mapping, chosen):
                return
            with lambda_svc._dynamodb_stream_positions_lock:
                lambda_svc._dynamodb_stream_positions[mapping["UUID"]] = position + len(records)
    finally:
        with _busy_lock:
            _busy.discard(mapping["UUID"])


def _deliver(mapping: Json, records: list[Json]) -> bool:
    """Call the function until every record is done or given up; False if the mapping ended.

    "If you use this feature with a partial batch response, Lambda retries from the lowest failed
    sequence number"; splitting a batch does not count as a retry.
    """
    waiting, attempts = [records], 0
    while waiting:
        batch = waiting[0]
        func, _ = lambda_svc._get_func_record_for_qualifier(
            mapping["FunctionName"], mapping.get("Qualifier")
        )
        if func is None or lambda_svc._esms.get(mapping["UUID"]) is not mapping:
            return False
        result = lambda_svc._execute_function(func, {"Records": batch})
        left = batch if result.get("error") else _left(mapping, result.get("body"), batch)
        if not left:
            mapping["LastProcessingResult"] = f"OK - {len(batch)} records"
            waiting.pop(0)
            attempts = 0
            continue
        mapping["LastProcessingResult"] = "PROBLEM: Function call failed"
        if len(left) < len(batch):
            # A checkpoint: what is left is a batch of its own, with all its retries.
            attempts = 0
        condition = _given_up(mapping, left, attempts)
        if result.get("error") and mapping.get("BisectBatchOnFunctionError") and len(left) > 1:
            middle = len(left) // 2
            waiting[0:1] = [left[:middle], left[middle:]]
        elif condition:
            lambda_svc._send_ddb_stream_failure_record(
                mapping, func, left, mapping["EventSourceArn"], result, condition
            )
            waiting.pop(0)
            attempts = 0
        else:
            waiting[0] = left
            time.sleep(min(_FIRST_PAUSE_SECONDS * 2**attempts, _LONGEST_PAUSE_SECONDS))
            attempts += 1
    return True


def _left(mapping: Json, answer: Any, batch: list[Json]) -> list[Json]:
    """The records from the first failed one on; none if all is done."""
    numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
    failed = failed_items(mapping, answer, numbers)
    return batch[min((numbers.index(number) for number in failed), default=len(batch)) :]


def _given_up(mapping: Json, batch: list[Json], attempts: int) -> str | None:
    """Why the batch is not tried again; "the default value is infinite" for both limits."""
    retries, age = mapping.get("MaximumRetryAttempts"), mapping.get("MaximumRecordAgeInSeconds")
    if retries is not None and 0 <= retries <= attempts:
        return "RetryAttemptsExhausted"
    oldest = min(float(each["dynamodb"]["ApproximateCreationDateTime"]) for each in batch)
    if age is not None and 0 <= age < time.time() - oldest:
        return "RecordAgeExceeded"
    return None


def install() -> None:
    """Replace the two pollers' work. Fails if what it replaces has moved."""
    require(lambda_svc, "_execute_function", "func", "event")
    require(lambda_svc, "_iter_all_esms")
    require(lambda_svc, "_apply_filter_criteria", "records", "esm")
    require(lambda_svc, "_get_func_record_for_qualifier", "name", "qualifier")
    require(
        lambda_svc,
        "_send_ddb_stream_failure_record",
        *("esm", "func_rec", "batch", "stream_arn", "result", "condition"),
    )
    require(sqs, "_delete_messages_for_esm", "queue_url", "receipt_handles")
    require(dynamodb, "stream_start_position", "table_name", "account_id", "region")
    require(dynamodb, "stream_end_position", "table_name", "account_id", "region")
    require(
        dynamodb,
        "stream_records_since",
        *("table_name", "position", "limit", "account_id", "region"),
    )
    replace(lambda_svc, "_run_sqs_batch", _run_sqs_batch)
    replace(lambda_svc, "_poll_dynamodb_streams", _poll_dynamodb_streams)
