"""A flow log tells its role, its log group, its interval, its format and its tags.

MiniStack drops them, so a second plan would replace the flow log.
"""

from typing import Any
from xml.sax.saxutils import escape

from ministack.services import ec2

from localstack.additions.seam import SeamMissing, replace, require

# The format of version 2, which AWS writes where none is asked for.
_DEFAULT_FORMAT = (
    "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} "
    "${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}"
)
_DEFAULT_INTERVAL = "600"  # seconds


def install() -> None:
    """Wrap CreateFlowLogs and DescribeFlowLogs. Fails if what they call has moved."""
    require(ec2, "_p", "params", "key", "default")
    require(ec2, "_parse_tag_specs", "p", "resource_type", "resource_id")

    def _create_flow_logs(params: dict[str, Any]) -> Any:
        known = set(ec2._flow_logs)
        response = stock_create(params)
        group = ec2._p(params, "LogDestination").partition(":log-group:")[2].removesuffix(":*")
        for created in set(ec2._flow_logs) - known:
            ec2._parse_tag_specs(params, "vpc-flow-log", created)
            ec2._flow_logs[created] |= {
                "DeliverLogsPermissionArn": ec2._p(params, "DeliverLogsPermissionArn"),
                "LogGroupName": ec2._p(params, "LogGroupName") or group,
                "LogFormat": ec2._p(params, "LogFormat") or _DEFAULT_FORMAT,
                "MaxAggregationInterval": ec2._p(params, "MaxAggregationInterval")
                or _DEFAULT_INTERVAL,
            }
        return response

    def _describe_flow_logs(params: dict[str, Any]) -> Any:
        status, headers, body = stock_describe(params)
        text = body.decode()
        for name, flow_log in ec2._flow_logs.items():
            fields = "".join(
                f"<{field[0].lower()}{field[1:]}>{escape(flow_log[field])}"
                f"</{field[0].lower()}{field[1:]}>"
                for field in (
                    "DeliverLogsPermissionArn",
                    "LogGroupName",
                    "LogFormat",
                    "MaxAggregationInterval",
                )
                if flow_log.get(field)
            )
            marker = f"<flowLogId>{name}</flowLogId>"
            text = text.replace(marker, f"{marker}{fields}")
        return status, headers, text.encode()

    stock_create = replace(ec2, "_create_flow_logs", _create_flow_logs)
    stock_describe = replace(ec2, "_describe_flow_logs", _describe_flow_logs)
    for action, stock, mended in (
        ("CreateFlowLogs", stock_create, _create_flow_logs),
        ("DescribeFlowLogs", stock_describe, _describe_flow_logs),
    ):
        if ec2._ACTION_MAP.get(action) is not stock:
            raise SeamMissing(f"{action} is not served by what is replaced")
        ec2._ACTION_MAP[action] = mended
