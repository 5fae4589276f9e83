"""What a month costs idle, at 1,000 and at 10 million turns, and what binds first at each size.

python -m tests.benchmarks.cost
"""

from tests.benchmarks.cost import record
from tests.benchmarks.cost.model import Model, binding, data, priced

SIZES = (
    ("idle, dev", 0, "dev"),
    ("idle", 0, "prod"),
    ("1,000 turns", 1_000, "prod"),
    ("10 million turns", 10_000_000, "prod"),
)
GROUPS = {
    "model": ("model_input_tokens", "model_output_tokens", "embedding_tokens"),
    "database": ("aurora_acu_hours", "aurora_gb", "data_api_requests"),
    "DynamoDB": (
        "dynamodb_write_units",
        "dynamodb_read_units",
        "dynamodb_gb",
        "dynamodb_backup_gb",
    ),
    "Lambda": ("lambda_requests", "lambda_gb_seconds", "snapshot_gb_seconds"),
    "Step Functions": ("transitions",),
    "API Gateway": ("rest_requests", "websocket_messages", "websocket_minutes"),
    "logs, traces, alarms": ("log_gb", "log_stored_gb", "traces", "alarms", "dashboards"),
    "keys and secrets": ("keys", "secrets", "secret_requests"),
    "S3, SQS, Scheduler": (
        "s3_writes",
        "s3_reads",
        "s3_gb",
        "sqs_requests",
        "scheduler_invocations",
    ),
}


def main() -> None:
    """Print both tables, or how to make what they are made from."""
    if not record.RECORDED.exists():
        print("no costs: nothing was recorded yet; with a stack up, once:")
        print("  STACK=test python -m tests.benchmarks.cost.record")
        return
    model, prices, quotas = Model.read(), data("prices"), data("quotas")
    paid = [priced(model.month(turns, where), prices["usd"]) for _, turns, where in SIZES]
    print(
        f"a month in USD ({prices['region']}, prices of {prices['as_of']}, to be checked; counts "
        f"recorded on {model.recorded['recorded_on']})"
    )
    print(f"  {'':22}" + "".join(f"{name:>18}" for name, _, _ in SIZES))
    for group, names in GROUPS.items():
        sums = [sum(each.get(name, 0) for name in names) for each in paid]
        print(f"  {group:22}" + "".join(f"{amount:18,.2f}" for amount in sums))
    print(f"  {'in all':22}" + "".join(f"{sum(each.values()):18,.2f}" for each in paid))
    for name, turns, _ in SIZES[2:]:
        first, second = binding(model, turns, quotas["quotas"])[:2]
        print(f"{name}: first binds {first.name}, {first.share:.2%} of it at the peak,")
        print(f"  reached at {first.reached_at:,.0f} turns a month; then {second.name}")
        print(f"  ({second.share:.2%}, reached at {second.reached_at:,.0f})")


if __name__ == "__main__":
    main()
