# The machine that removes what belongs to a deleted conversation, user or workspace.

module "purge_state_machine" {
  source = "./modules/state_machine"

  name = local.purge_state_machine_name
  definition = templatefile("${path.module}/../statemachines/purge.asl.json", {
    for key in keys(var.functions) : "${key}_arn" => module.function[key].alias_arn
  })

  permissions_boundary_arn = var.permissions_boundary_arn
  kms_key_arn              = module.key["data"].arn
  log_kms_key_arn          = module.key["logs"].arn
  log_retention_days       = var.log_retention_days
}

# Once a day what is due and still there, because an execution failed or its start was lost, and
# conversations past their retention.
resource "aws_scheduler_schedule" "purge" {
  name                = local.purge_state_machine_name
  description         = "Purges what is due and was not purged"
  schedule_expression = "cron(17 3 * * ? *)"
  kms_key_arn         = module.key["data"].arn

  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 15
  }

  target {
    arn      = module.purge_state_machine.arn
    role_arn = aws_iam_role.purge_schedule.arn
    # Not jsonencode, which escapes the brackets of what the scheduler fills in.
    input = "{\"kind\": \"due\", \"id\": \"\", \"cursor\": \"\", \"request_id\": \"<aws.scheduler.execution-id>\"}"

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 20
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letter.arn
    }
  }

  depends_on = [aws_iam_role_policy.purge_schedule]
}

resource "aws_iam_role" "purge_schedule" {
  name                 = "${local.purge_state_machine_name}-schedule"
  description          = "Lets the daily schedule start the machine ${local.purge_state_machine_name}"
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

resource "aws_iam_role_policy" "purge_schedule" {
  name = "access"
  role = aws_iam_role.purge_schedule.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["states:StartExecution"], Resource = [local.purge_state_machine_arn] },
      { Effect = "Allow", Action = ["sqs:SendMessage"], Resource = [aws_sqs_queue.dead_letter.arn] },
      { Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [module.key["data"].arn] },
    ]
  })
}
