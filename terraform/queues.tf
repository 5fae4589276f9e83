# The queues carry ids, no content, and are encrypted with SQS's own key: EventBridge and alarms
# can then use them without a grant on ours. Policies stand inside the queues: as resources of
# their own each would take another 25 seconds.
locals {
  turn_watch_timeout = var.functions["chat_end"].timeout * 6 # what AWS asks of a queue that Lambda reads
}

# Asynchronous events that a function, or EventBridge, could not get rid of.
resource "aws_sqs_queue" "dead_letter" {
  name                      = "${local.name}-dead-letter"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "FailedEvents"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = "${local.arn_prefixes.sqs}:${local.name}-dead-letter"
      Condition = { ArnEquals = { "aws:SourceArn" = [local.failed_chat_rule_arn, local.failed_ingestion_rule_arn] } }
    }]
  })
}

resource "aws_sqs_queue" "turn_watch" {
  name                       = local.turn_watch_queue_name
  visibility_timeout_seconds = local.turn_watch_timeout
  message_retention_seconds  = 86400
  sqs_managed_sse_enabled    = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.turn_watch_dead_letter.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "turn_watch_dead_letter" {
  name                      = "${local.name}-turn-watch-dead-letter"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [local.turn_watch_queue_arn]
  })
}

# Documents that could not be embedded, and batches of their stream that Lambda gave up.
resource "aws_sqs_queue" "embed_dead_letter" {
  name                      = local.embed_dead_letter_name
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}
