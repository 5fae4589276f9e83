"""Lambdas' logs in CloudWatch Logs: a stream for each execution environment, lines in their time.

MiniStack makes a log stream for each invocation, all of whose lines have the time of its end; a
search over thousands of streams is slow. A local stack keeps only the newest lines.
"""

import time
from typing import Any

from ministack.core.responses import new_uuid
from ministack.services import cloudwatch_logs, lambda_svc

from localstack.additions.lambda_runtime import invocation
from localstack.additions.seam import replace, require

_LINES_KEPT = 10_000
_STREAMS_KEPT = 64

Json = dict[str, Any]


def _emit_lambda_logs(
    func: Json,
    request_id: str,
    log_text: str,
    error: bool,
    duration_ms: int,
    *,
    log_source: str | None = None,
) -> None:
    """Write the lines of one invocation, between START and REPORT, as AWS does."""
    del error, log_source
    config = func.get("config") or func
    name, version = config.get("FunctionName", "unknown"), config.get("Version", "$LATEST")
    group_name = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
    stream_name = (
        invocation.log_stream
        or f"{time.strftime('%Y/%m/%d')}/[{version}]{new_uuid().replace('-', '')}"
    )
    now = int(time.time() * 1000)
    written = invocation.lines
    if written is None:
        written = [(now, line) for line in log_text.splitlines()]
    start = min([now - duration_ms, *(at for at, _ in written)])
    report = (
        f"REPORT RequestId: {request_id}\tDuration: {duration_ms} ms\t"
        f"Billed Duration: {duration_ms} ms\tMemory Size: {config.get('MemorySize', 128)} MB\t"
        f"Max Memory Used: {lambda_svc._probe_peak_memory_mb(func)} MB"
    )
    lines = [
        (start, f"START RequestId: {request_id} Version: {version}"),
        *written,
        (now, f"END RequestId: {request_id}"),
        (now, report),
    ]
    events = [{"timestamp": at, "message": text, "ingestionTime": now} for at, text in lines]
    stream = _stream(group_name, stream_name, now)
    cloudwatch_logs._append_log_events(stream, events)
    with cloudwatch_logs._log_events_lock:
        del stream["events"][:-_LINES_KEPT]
    cloudwatch_logs._fanout_to_subscription_filters(group_name, stream_name, events)


def _stream(group_name: str, stream_name: str, now: int) -> Json:
    groups = cloudwatch_logs._log_groups
    if group_name not in groups:
        groups[group_name] = {
            "arn": cloudwatch_logs._make_group_arn(group_name),
            "creationTime": now,
            "retentionInDays": None,
            "tags": {},
            "subscriptionFilters": {},
            "streams": {},
        }
    with cloudwatch_logs._log_events_lock:
        streams: dict[str, Json] = groups[group_name]["streams"]
        if stream_name not in streams:
            for oldest in list(streams)[: len(streams) + 1 - _STREAMS_KEPT]:
                del streams[oldest]
            streams[stream_name] = {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": now,
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            }
        return streams[stream_name]


def install() -> None:
    """Replace what writes the logs. Fails if what it replaces has moved."""
    require(cloudwatch_logs, "_append_log_events", "stream", "events")
    require(cloudwatch_logs, "_make_group_arn", "name")
    require(
        cloudwatch_logs, "_fanout_to_subscription_filters", "group_name", "stream_name", "events"
    )
    require(lambda_svc, "_probe_peak_memory_mb", "func")
    replace(lambda_svc, "_emit_lambda_logs", _emit_lambda_logs)
