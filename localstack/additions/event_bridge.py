"""EventBridge rules call their Lambdas asynchronously, with Lambda's two retries.

MiniStack calls once and forgets the outcome.
"""

import json

from ministack.services import eventbridge, lambda_svc

from localstack.additions.seam import replace, require


def _dispatch_to_lambda(arn: str, payload: str) -> None:
    func, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not func or not config:
        eventbridge.logger.warning("EventBridge: the target function %s does not exist", name)
        return
    record = lambda_svc._execution_record_for_config(func, config)
    lambda_svc.invoke_async_with_retry(record, json.loads(payload))


def install() -> None:
    """Replace the delivery to Lambda. Fails if what it replaces has moved."""
    require(lambda_svc, "_get_func_record_for_ref", "function_ref")
    require(lambda_svc, "_execution_record_for_config", "func", "config")
    require(lambda_svc, "invoke_async_with_retry", "func", "event")
    replace(eventbridge, "_dispatch_to_lambda", _dispatch_to_lambda)
