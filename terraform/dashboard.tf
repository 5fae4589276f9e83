# What the environment does, on one page, and the query that follows one request through all of it.

locals {
  # Title to its metrics: [namespace, metric, statistic, dimensions].
  widgets = [
    { title = "Time to first token, p50 and p90", metrics = [for statistic in ["p50", "p90"] : ["Chatbot", "TimeToFirstToken", statistic, local.own]] },
    { title = "Time of a turn, p50 and p90", metrics = [for statistic in ["p50", "p90"] : ["Chatbot", "TurnTime", statistic, local.own]] },
    { title = "Tokens", metrics = [for metric in ["InputTokens", "OutputTokens"] : ["Chatbot", metric, "Sum", local.own]] },
    { title = "Turns that failed, errors of tools", metrics = [for metric in ["FailedTurns", "ToolErrors"] : ["Chatbot", metric, "Sum", local.own]] },
    { title = "Lag of ingestion and embedding, p90", metrics = [for metric in ["IngestionLag", "EmbeddingLag"] : ["Chatbot", metric, "p90", local.own]] },
    { title = "REST requests, errors", metrics = [for metric in ["Count", "4xx", "5xx"] : ["AWS/ApiGateway", metric, "Sum", { ApiId = module.http_api.id }]] },
    { title = "REST latency, p50 and p99", metrics = [for statistic in ["p50", "p99"] : ["AWS/ApiGateway", "Latency", statistic, { ApiId = module.http_api.id }]] },
    { title = "WebSocket connections, messages", metrics = [for metric in ["ConnectCount", "MessageCount"] : ["AWS/ApiGateway", metric, "Sum", { ApiId = module.websocket_api.id }]] },
    { title = "Executions of chat", metrics = [for metric in ["ExecutionsStarted", "ExecutionsFailed"] : ["AWS/States", metric, "Sum", { StateMachineArn = module.chat_state_machine.arn }]] },
    { title = "Capacity of the database", metrics = [["AWS/RDS", "ServerlessDatabaseCapacity", "Average", { DBClusterIdentifier = local.database_cluster_name }]] },
    { title = "Age of changes of documents", metrics = [["AWS/Lambda", "IteratorAge", "Maximum", { FunctionName = local.function_names["embed"] }]] },
    { title = "Lambda: executions at once, throttled calls", metrics = [["AWS/Lambda", "ConcurrentExecutions", "Maximum", {}], ["AWS/Lambda", "Throttles", "Sum", {}]] },
  ]

  own = { environment = var.environment }

  # Everything that writes lines: functions, machines and both APIs.
  log_groups = concat(
    values(module.function)[*].log_group_name,
    [module.chat_state_machine.log_group_name, module.purge_state_machine.log_group_name],
    values(module.ingestion_state_machine)[*].log_group_name,
    [module.http_api.log_group_name, module.websocket_api.log_group_name],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.name

  dashboard_body = jsonencode({
    widgets = [
      for index, widget in local.widgets : {
        type   = "metric"
        x      = index % 3 * 8
        y      = floor(index / 3) * 6
        width  = 8
        height = 6
        properties = {
          title  = widget.title
          region = var.aws_region
          view   = "timeSeries"
          period = 300
          metrics = [
            for metric in widget.metrics :
            concat([metric[0], metric[1]], flatten([for name, value in metric[3] : [name, value]]), [{ stat = metric[2] }])
          ]
        }
      }
    ]
  })
}

# An execution is named after its turn's message, and a function's lines carry the request, the
# message and, for ingestion, the source: all of a request lead to each other by `request_id`, all of
# a turn by `message_id`, whose executions, frames and tool calls are in the lines.
resource "aws_cloudwatch_query_definition" "request" {
  name            = "${local.name}/follow a request"
  log_group_names = local.log_groups

  query_string = <<-EOT
    # Put the request's id, its turn's message id, or an execution's name, in the next line.
    fields @timestamp, coalesce(service, type, route) as step, code, level, message, message_id, source_id, status, @log, @message
    | filter @message like /REQUEST_ID/
    | sort @timestamp asc
    | limit 1000
  EOT
}
