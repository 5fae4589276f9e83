"""Run in a fresh process: import a handler, answer one event, print a line after each.

    python -S probe.py <module> <event as JSON>

The second line is the status of an HTTP answer, or the keys of another.
"""

import importlib
import json
import sys


class Context:
    """What Lambda tells an invocation."""

    function_name = "probe"
    aws_request_id = "probe"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 900_000


handler = importlib.import_module(sys.argv[1]).handler
print("imported", flush=True)
answer = handler(json.loads(sys.argv[2]), Context())
print(answer.get("statusCode") or sorted(answer), flush=True)
