"""DescribeAlarms answers with all of an alarm, in the query protocol too, and with no more.

MiniStack leaves out most fields there, so a second plan would change every alarm. Its JSON
protocol has them all: the query protocol writes down the same. An alarm on a percentile has no
`Statistic` beside it.
"""

import json
from datetime import UTC, datetime
from html import escape
from typing import Any

from ministack.services import cloudwatch

from localstack.additions.seam import replace, require


def _query_parameters(params: dict[str, Any]) -> dict[str, Any]:
    """A DescribeAlarms request of the query protocol, as the JSON protocol has it."""
    data: dict[str, Any] = {}
    for key in params:
        value = cloudwatch._p(params, key)
        name, _, member = key.partition(".member.")
        if member:
            data.setdefault(name, []).append(value)
        elif value:
            data[name] = value
    return data


def _xml_value(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        inner = "".join(_xml_value("member", item) for item in value)
    elif isinstance(value, dict):
        inner = "".join(_xml_value(key, item) for key, item in value.items())
    elif isinstance(value, bool):
        inner = str(value).lower()
    elif name.endswith("Timestamp"):
        inner = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    else:
        inner = escape(str(value))
    return f"<{name}>{inner}</{name}>"


def install() -> None:
    """Wrap DescribeAlarms. Fails if what it calls has moved."""
    require(cloudwatch, "_p", "params", "key", "default")
    require(cloudwatch, "_xml", "status", "root_tag", "inner")

    def _describe_alarms(
        params: dict[str, Any], cbor_data: dict[str, Any], is_cbor: bool, is_json: bool = False
    ) -> Any:
        if is_cbor or is_json:
            return stock(params, cbor_data, is_cbor, is_json)
        status, _, body = stock(params, _query_parameters(params), False, True)
        if status != 200:
            return stock(params, cbor_data, is_cbor, is_json)
        described = json.loads(body)
        for alarm in described["MetricAlarms"]:
            if alarm.get("ExtendedStatistic"):
                alarm.pop("Statistic", None)
        result = _xml_value("DescribeAlarmsResult", described)
        return cloudwatch._xml(status, "DescribeAlarmsResponse", result)

    stock = replace(cloudwatch, "_describe_alarms", _describe_alarms)
