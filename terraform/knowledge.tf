# What keeps the search index as the table of documents is.

resource "aws_lambda_event_source_mapping" "stream" {
  for_each = { for key, function in var.functions : key => function.stream if function.stream != null }

  event_source_arn  = aws_dynamodb_table.this[each.value].stream_arn
  function_name     = module.function[each.key].alias_arn
  starting_position = "TRIM_HORIZON"

  batch_size                     = 10
  bisect_batch_on_function_error = true
  function_response_types        = ["ReportBatchItemFailures"]
  maximum_record_age_in_seconds  = 21600
  maximum_retry_attempts         = 8
  parallelization_factor         = 4

  # What waits to be embedded, and what was removed.
  filter_criteria {
    filter {
      pattern = jsonencode({
        eventName = ["INSERT", "MODIFY"]
        dynamodb  = { NewImage = { status = { S = ["pending"] }, attempts = { N = ["0"] } } }
      })
    }

    filter {
      pattern = jsonencode({ eventName = ["REMOVE"] })
    }
  }

  destination_config {
    on_failure {
      destination_arn = aws_sqs_queue.embed_dead_letter.arn
    }
  }
}

# What a lost event has left `pending` is queued again.
resource "aws_scheduler_schedule" "queue" {
  #checkov:skip=CKV_AWS_297: the input holds nothing but the name of an action
  name                = "${local.name}-queue-documents"
  description         = "Has documents embedded that were left pending"
  schedule_expression = "rate(15 minutes)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.function["embed"].alias_arn
    role_arn = aws_iam_role.queue_schedule.arn
    input    = jsonencode({ action = "queue" })

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 5
    }
  }
}

resource "aws_iam_role" "queue_schedule" {
  name                 = "${local.name}-queue-documents"
  description          = "Lets the schedule call the function embed"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "queue_schedule" {
  name = "access"
  role = aws_iam_role.queue_schedule.name

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "lambda:InvokeFunction", Resource = module.function["embed"].alias_arn }]
  })
}
