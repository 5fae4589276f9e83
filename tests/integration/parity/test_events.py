"""EventBridge rules that call Lambdas.

Quoted from https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html and
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html.
"""

import json

import pytest

from tests.integration.parity.gateway import Server, wait_until


@pytest.mark.parametrize("status", ["FAILED", "SUCCEEDED"])
def test_rule_calls_its_function_when_an_execution_ends(stack: Server, status: str) -> None:
    """ "Step Functions Execution Status Change" with detail.status, name, stateMachineArn."""
    kept = stack.directory / f"rule-{status}"
    function = stack.function(
        """
        import json, os

        def handler(event, context):
            with open(os.environ["KEPT"], "a") as kept:
                kept.write(json.dumps(event) + "\\n")
        """,
        Environment={"Variables": {"KEPT": str(kept)}},
    )
    machines, events = stack.client("stepfunctions"), stack.client("events")
    end = {"Type": "Fail", "Error": "Gone"} if status == "FAILED" else {"Type": "Succeed"}
    machine = machines.create_state_machine(
        name=f"ends-{status}",
        roleArn="arn:aws:iam::000000000000:role/parity",
        definition=json.dumps({"StartAt": "End", "States": {"End": end}}),
    )["stateMachineArn"]
    events.put_rule(
        Name=f"rule-{status}",
        EventPattern=json.dumps(
            {
                "source": ["aws.states"],
                "detail-type": ["Step Functions Execution Status Change"],
                "detail": {"stateMachineArn": [machine], "status": [status]},
            }
        ),
    )
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    events.put_targets(Rule=f"rule-{status}", Targets=[{"Id": "end", "Arn": arn}])
    machines.start_execution(stateMachineArn=machine, name="turn-1")
    assert wait_until(kept.exists, 10)
    event = json.loads(wait_until(kept.read_text, 5))
    assert event["source"] == "aws.states"
    assert event["detail"]["name"] == "turn-1"
    assert event["detail"]["status"] == status


def test_rule_tries_its_function_again_when_it_fails(server: Server) -> None:
    """Asynchronous invocation: "If the function returns an error, Lambda ... retries twice" """
    kept = server.directory / "rule-retried"
    function = server.function(
        """
        import os

        def handler(event, context):
            with open(os.environ["KEPT"], "a") as kept:
                kept.write("x")
            raise ValueError("not yet")
        """,
        Environment={"Variables": {"KEPT": str(kept)}},
    )
    events = server.client("events")
    events.put_rule(Name="rule-retried", EventPattern=json.dumps({"source": ["parity.retry"]}))
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    events.put_targets(Rule="rule-retried", Targets=[{"Id": "end", "Arn": arn}])
    events.put_events(Entries=[{"Source": "parity.retry", "DetailType": "x", "Detail": "{}"}])
    assert wait_until(kept.exists, 10)
    assert wait_until(lambda: kept.read_text() == "xxx", 6)
