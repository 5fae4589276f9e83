# Alarms, each a row; what to do stands in the README under the same name. Nobody reads a dead-letter
# queue that does not call.
locals {
  alarm_rows = merge(
    {
      for key, queue in {
        dead-letter            = { name = aws_sqs_queue.dead_letter.name, what = "Events that a function or EventBridge could not get rid of wait" }
        embed-dead-letter      = { name = aws_sqs_queue.embed_dead_letter.name, what = "Documents could not be embedded and wait" }
        mail-dead-letter       = { name = aws_sqs_queue.mail_dead_letter.name, what = "Mails could not be sent and wait" }
        turn-watch-dead-letter = { name = aws_sqs_queue.turn_watch_dead_letter.name, what = "Turns could not be looked after and wait" }
        } : key => {
        description = "${queue.what} in the queue ${queue.name}."
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = queue.name }
        statistic   = "Maximum"
        period      = 60
      }
    },
    {
      for key in ["delete_source", "end_ingestion"] : "${replace(key, "_", "-")}-failed" => {
        description = "An execution of ${local.ingestion_machine_names[key]} has failed: a failed run is told to its workspace, this has nobody else to tell."
        namespace   = "AWS/States"
        metric      = "ExecutionsFailed"
        dimensions  = { StateMachineArn = module.ingestion_state_machine[key].arn }
      }
    },
    # A failure, a time-out and an abort each have a metric of their own.
    {
      for key, metric in { failed = "ExecutionsFailed", timed-out = "ExecutionsTimedOut", aborted = "ExecutionsAborted" } :
      "purge-${key}" => {
        description = "A purge has ${replace(key, "-", " ")}; the daily run tries again."
        namespace   = "AWS/States"
        metric      = metric
        dimensions  = { StateMachineArn = module.purge_state_machine.arn }
      }
    },
    {
      chat-failed = {
        description = "Executions of the chat machine died; their turns were ended as failed."
        namespace   = "AWS/States"
        metric      = "ExecutionsFailed"
        dimensions  = { StateMachineArn = module.chat_state_machine.arn }
        threshold   = 5
      }
      chat-timed-out = {
        description = "An execution of the chat machine reached its time-out."
        namespace   = "AWS/States"
        metric      = "ExecutionsTimedOut"
        dimensions  = { StateMachineArn = module.chat_state_machine.arn }
      }
      throttled = {
        description = "Lambda turns calls away: the account's executions at once are used up."
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = {}
        threshold   = 10
      }
      embed-behind = {
        description = "Changes of documents wait for half an hour to be taken from their stream."
        namespace   = "AWS/Lambda"
        metric      = "IteratorAge"
        dimensions  = { FunctionName = local.function_names["embed"] }
        statistic   = "Maximum"
        threshold   = 1800000
      }
      rest-errors = {
        description = "The REST API answers with 5xx."
        namespace   = "AWS/ApiGateway"
        metric      = "5xx"
        dimensions  = { ApiId = module.http_api.id }
        threshold   = 5
      }
      rest-slow = {
        description = "One of 100 REST requests takes more than 5 seconds, for a quarter of an hour."
        namespace   = "AWS/ApiGateway"
        metric      = "Latency"
        dimensions  = { ApiId = module.http_api.id }
        percentile  = "p99"
        threshold   = 5000
        periods     = 3
      }
      websocket-errors = {
        description = "Frames or handshakes meet errors of the WebSocket API's functions."
        namespace   = "AWS/ApiGateway"
        metric      = "IntegrationError"
        dimensions  = { ApiId = module.websocket_api.id }
        threshold   = 5
      }
      database-full = {
        description = "The cluster has been at 90 % of its greatest capacity for a quarter of an hour."
        namespace   = "AWS/RDS"
        metric      = "ACUUtilization"
        dimensions  = { DBClusterIdentifier = local.database_cluster_name }
        statistic   = "Average"
        threshold   = 90
        periods     = 3
      }
      schedule-dropped = {
        description = "A source's schedule could not start its run, and gave up."
        namespace   = "AWS/Scheduler"
        metric      = "InvocationDroppedCount"
        dimensions  = { ScheduleGroup = local.source_schedule_group }
      }
      first-token-slow = {
        description = "One of 10 answers takes more than 10 seconds to begin, for a quarter of an hour."
        metric      = "TimeToFirstToken"
        percentile  = "p90"
        threshold   = 10000
        periods     = 3
      }
      turns-failed = {
        description = "More than 20 turns of 5 minutes failed."
        metric      = "FailedTurns"
        threshold   = 20
      }
      tools-failing = {
        description = "More than 20 calls of tools in 5 minutes ended with an error."
        metric      = "ToolErrors"
        threshold   = 20
      }
      embedding-slow = {
        description = "One of 10 documents takes more than 15 minutes to be found, for a quarter of an hour."
        metric      = "EmbeddingLag"
        percentile  = "p90"
        threshold   = 900000
        periods     = 3
      }
    },
    {
      for key in keys(var.functions) : "errors-${replace(key, "_", "-")}" => {
        description = "The function ${local.function_names[key]} ends with errors that it did not expect."
        namespace   = "AWS/Lambda"
        metric      = "Errors"
        dimensions  = { FunctionName = local.function_names[key] }
        # Machines and queues try these again.
        threshold = length(var.functions[key].routes) > 0 ? 0 : 5
      }
    },
  )

  # Rows in one form: the metrics of our own are those of the environment.
  alarms = {
    for key, row in local.alarm_rows : key => {
      description = row.description
      namespace   = try(row.namespace, "Chatbot")
      metric      = row.metric
      dimensions  = { for name, value in try(row.dimensions, { environment = var.environment }) : name => tostring(value) }
      statistic   = try(row.percentile, null) == null ? try(row.statistic, "Sum") : null
      percentile  = try(row.percentile, null)
      threshold   = try(row.threshold, 0)
      period      = try(row.period, 300)
      periods     = try(row.periods, 1)
    }
  }
}

resource "aws_sns_topic" "alarms" {
  name              = "${local.name}-alarms"
  kms_master_key_id = module.key["logs"].arn
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = toset(compact([var.alarm_email]))

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: README.md, \"Alarms\", `${startswith(each.key, "errors-") ? "errors-…" : each.key}`."
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  extended_statistic  = each.value.percentile
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

moved {
  from = aws_cloudwatch_metric_alarm.dead_letter["dead-letter"]
  to   = aws_cloudwatch_metric_alarm.this["dead-letter"]
}

moved {
  from = aws_cloudwatch_metric_alarm.dead_letter["embed-dead-letter"]
  to   = aws_cloudwatch_metric_alarm.this["embed-dead-letter"]
}

moved {
  from = aws_cloudwatch_metric_alarm.dead_letter["mail-dead-letter"]
  to   = aws_cloudwatch_metric_alarm.this["mail-dead-letter"]
}

moved {
  from = aws_cloudwatch_metric_alarm.dead_letter["turn-watch-dead-letter"]
  to   = aws_cloudwatch_metric_alarm.this["turn-watch-dead-letter"]
}

moved {
  from = aws_cloudwatch_metric_alarm.failed_ingestion["delete_source"]
  to   = aws_cloudwatch_metric_alarm.this["delete-source-failed"]
}

moved {
  from = aws_cloudwatch_metric_alarm.failed_ingestion["end_ingestion"]
  to   = aws_cloudwatch_metric_alarm.this["end-ingestion-failed"]
}

moved {
  from = aws_cloudwatch_metric_alarm.failed_purge["failed"]
  to   = aws_cloudwatch_metric_alarm.this["purge-failed"]
}

moved {
  from = aws_cloudwatch_metric_alarm.failed_purge["timed-out"]
  to   = aws_cloudwatch_metric_alarm.this["purge-timed-out"]
}

moved {
  from = aws_cloudwatch_metric_alarm.failed_purge["aborted"]
  to   = aws_cloudwatch_metric_alarm.this["purge-aborted"]
}
