"""The environment that Terraform gives every function, read once, at start."""

import os
from functools import cache
from typing import Any, NamedTuple


class Settings(NamedTuple):
    """Every field is required: a missing or unreadable variable fails the start of the function.

    A field's variable has its name in capitals. Lists are separated by commas, switches are
    `true` or `false`, times are in seconds.
    """

    environment: str
    version: str
    debug: bool
    access_token_seconds: int
    refresh_token_seconds: int
    refresh_family_seconds: int
    registration_enabled: bool
    email_verification_required: bool
    address_requests_per_minute: int
    user_requests_per_minute: int
    sign_in_attempts_per_minute: int
    chats_per_minute: int
    max_concurrent_turns: int
    approval_timeout_seconds: int
    monthly_tokens: int
    conversation_retention_days: int
    bedrock_model_id: str
    bedrock_model_ids: list[str]
    bedrock_inference_profiles: list[str]
    guardrail_id: str
    guardrail_version: str
    database_cluster_arn: str
    database_name: str
    database_secret_arn: str
    database_wait_seconds: int
    signing_secret_arn: str
    conversations_table: str
    turns_table: str
    connections_table: str
    guards_table: str
    usage_table: str
    feedback_table: str
    mail_queue_url: str
    mail_sender: str
    client_url: str
    turn_watch_queue_url: str
    chat_state_machine_arn: str
    purge_state_machine_arn: str
    documents_table: str
    documents_bucket: str
    embed_dead_letter_queue_url: str
    opensearch_endpoint: str
    jobs_table: str
    ingest_state_machine_arn: str
    remove_state_machine_arn: str
    source_schedule_group: str
    scheduler_role_arn: str
    scheduler_dead_letter_arn: str
    source_secret_prefix: str
    allowed_private_networks: list[str]
    sweep_max_percent: int
    web_search_provider: str
    web_search_url: str
    web_search_secret_arn: str
    websocket_callback_url: str
    websocket_allowed_origins: list[str]
    origin_digest: str


def _parse(kind: Any, name: str) -> Any:
    text = os.environ[name]
    if kind is bool:
        return {"true": True, "false": False}[text]
    if kind is int:
        return int(text)
    if kind is str:
        return text
    return [part for part in text.split(",") if part]


@cache
def settings() -> Settings:
    """Read the environment. Raises `RuntimeError` that names the variables at fault."""
    values, wrong = {}, []
    for field, kind in Settings.__annotations__.items():
        name = field.upper()
        try:
            values[field] = _parse(kind, name)
        except (KeyError, ValueError):
            wrong.append(name)
    if wrong:
        raise RuntimeError(f"missing or unreadable settings: {', '.join(wrong)}")
    return Settings(**values)
