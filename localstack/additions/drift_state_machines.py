"""A state machine keeps its tracing configuration.

MiniStack drops it, so a second plan would switch tracing on again.
"""

import json
from typing import Any

from ministack.services import stepfunctions

from localstack.additions.seam import replace


def install() -> None:
    """Wrap CreateStateMachine and UpdateStateMachine; DescribeStateMachine tells all it finds."""

    def _create_state_machine(data: dict[str, Any]) -> Any:
        status, headers, body = stock_create(data)
        if status == 200:
            machine = stepfunctions._state_machines[json.loads(body)["stateMachineArn"]]
            machine["tracingConfiguration"] = data.get("tracingConfiguration", {"enabled": False})
        return status, headers, body

    def _update_state_machine(data: dict[str, Any]) -> Any:
        status, headers, body = stock_update(data)
        if status == 200 and "tracingConfiguration" in data:
            machine = stepfunctions._state_machines[data["stateMachineArn"]]
            machine["tracingConfiguration"] = data["tracingConfiguration"]
        return status, headers, body

    stock_create = replace(stepfunctions, "_create_state_machine", _create_state_machine)
    stock_update = replace(stepfunctions, "_update_state_machine", _update_state_machine)
