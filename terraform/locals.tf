data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  is_local   = var.gateway_endpoint != null
  name       = "chatbot-${var.environment}"
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  # What the names of cluster and tables end in, and of those that they were restored from.
  generation    = var.restore == null ? "" : "-${var.restore.generation}"
  restored_from = try(var.restore.generation, 2) == 2 ? "" : "-${var.restore.generation - 1}"
  restored_to   = try(var.restore.time, null)

  # ARNs made from names, where the resource itself would close a circle: functions are told about
  # the machine that calls functions, or would make them wait: the provider takes 25 seconds for a
  # queue, twice for one with dead letters.
  arn_prefixes = {
    for service in ["events", "kms", "lambda", "logs", "rds", "scheduler", "secretsmanager", "sns", "sqs", "states"] :
    service => "arn:${local.partition}:${service}:${var.aws_region}:${local.account_id}"
  }

  chat_state_machine_name  = "${local.name}-chat"
  chat_state_machine_arn   = "${local.arn_prefixes.states}:stateMachine:${local.chat_state_machine_name}"
  purge_state_machine_name = "${local.name}-purge"
  purge_state_machine_arn  = "${local.arn_prefixes.states}:stateMachine:${local.purge_state_machine_name}"
  database_cluster_name    = "${local.name}${local.generation}"
  database_cluster_arn     = "${local.arn_prefixes.rds}:cluster:${local.database_cluster_name}"
  database_name            = "chatbot"
  failed_chat_rule_name    = "${local.name}-chat-failed"
  failed_chat_rule_arn     = "${local.arn_prefixes.events}:rule/${local.failed_chat_rule_name}"

  ingestion_machine_names   = { for key in ["ingest_source", "end_ingestion", "delete_source"] : key => "${local.name}-${replace(key, "_", "-")}" }
  ingestion_machine_arns    = { for key, name in local.ingestion_machine_names : key => "${local.arn_prefixes.states}:stateMachine:${name}" }
  failed_ingestion_rule     = "${local.name}-ingestion-failed"
  failed_ingestion_rule_arn = "${local.arn_prefixes.events}:rule/${local.failed_ingestion_rule}"
  source_schedule_group     = "${local.name}-sources"
  source_secret_prefix      = "${local.name}/source/"

  turn_watch_queue_name = "${local.name}-turn-watch"
  turn_watch_queue_arn  = "${local.arn_prefixes.sqs}:${local.turn_watch_queue_name}"
  turn_watch_queue_url  = join("/", [local.queue_endpoint, local.account_id, local.turn_watch_queue_name])
  queue_endpoint        = coalesce(var.gateway_endpoint, "https://sqs.${var.aws_region}.amazonaws.com")

  embedding_model_id     = "amazon.titan-embed-text-v2:0"
  embed_dead_letter_name = "${local.name}-embed-dead-letter"
  embed_dead_letter_arn  = "${local.arn_prefixes.sqs}:${local.embed_dead_letter_name}"
  embed_dead_letter_url  = join("/", [local.queue_endpoint, local.account_id, local.embed_dead_letter_name])

  websocket_stage = "ws"

  # AWS serves an API under a host of its own, the local stack under a path. A WebSocket client and
  # a function that posts to it share all but the scheme.
  api_url = (
    local.is_local
    ? "${coalesce(var.gateway_endpoint, "-")}/_aws/execute-api/${module.http_api.id}/$default"
    : try("https://${var.edge.domain_name}", module.http_api.endpoint)
  )
  websocket_callback_url = (
    local.is_local
    ? "${coalesce(var.gateway_endpoint, "-")}/_aws/execute-api/${module.websocket_api.id}/${local.websocket_stage}"
    : "https://${module.websocket_api.id}.execute-api.${var.aws_region}.amazonaws.com/${local.websocket_stage}"
  )
  websocket_url = replace(local.websocket_callback_url, "/^http/", "ws")
}
