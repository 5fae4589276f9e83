# The machines that bring knowledge in, the schedules that start them, and what closes a run whose
# machinery died. Schedules and secrets of sources are made and removed by `sources`.

locals {
  source_secret_arns   = "${local.arn_prefixes.secretsmanager}:secret:${local.source_secret_prefix}*"
  source_schedule_arns = "${local.arn_prefixes.scheduler}:schedule/${aws_scheduler_schedule_group.source.name}/*"
}

resource "aws_scheduler_schedule_group" "source" {
  name = local.source_schedule_group
}

# What every source's schedule starts the machine as.
resource "aws_iam_role" "scheduler" {
  name                 = "${local.name}-scheduler"
  description          = "Role of the schedules of sources"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = {
        ArnEquals    = { "aws:SourceArn" = "${local.arn_prefixes.scheduler}:schedule-group/${local.source_schedule_group}" }
        StringEquals = { "aws:SourceAccount" = local.account_id }
      }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "access"
  role = aws_iam_role.scheduler.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "states:StartExecution", Resource = local.ingestion_machine_arns["ingest_source"] },
      { Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.dead_letter.arn },
    ]
  })
}

module "ingestion_state_machine" {
  source   = "./modules/state_machine"
  for_each = local.ingestion_machine_names

  name = each.value
  definition = templatefile("${path.module}/../statemachines/${each.key}.asl.json", merge(
    { for key in keys(var.functions) : "${key}_arn" => module.function[key].alias_arn },
    { for key, arn in local.ingestion_machine_arns : "${key}_state_machine_arn" => arn },
    { jobs_table = local.table_names.jobs, sweep_interval_seconds = var.sweep_interval_seconds },
  ))
  table_arns = [local.table_arns.jobs]

  permissions_boundary_arn = var.permissions_boundary_arn
  kms_key_arn              = module.key["data"].arn
  log_kms_key_arn          = module.key["logs"].arn
  log_retention_days       = var.log_retention_days
}

# What passes every Catch of the machine, and a run that could not be closed: no job stays `running`
# and no source stays locked.
resource "aws_cloudwatch_event_rule" "failed_ingestion" {
  name        = local.failed_ingestion_rule
  description = "Executions of the ingestion machine that may have left their job open"

  event_pattern = jsonencode({
    source      = ["aws.states"]
    detail-type = ["Step Functions Execution Status Change"]
    detail = {
      status          = ["ABORTED", "FAILED", "TIMED_OUT"]
      stateMachineArn = [module.ingestion_state_machine["ingest_source"].arn]
    }
  })
}

resource "aws_cloudwatch_event_target" "failed_ingestion" {
  rule      = aws_cloudwatch_event_rule.failed_ingestion.name
  target_id = "end-ingestion"
  arn       = module.ingestion_state_machine["end_ingestion"].arn
  role_arn  = aws_iam_role.failed_ingestion.arn

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 20
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letter.arn
  }
}

resource "aws_iam_role" "failed_ingestion" {
  name                 = local.failed_ingestion_rule
  description          = "Role of the rule ${local.failed_ingestion_rule}"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "events.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "failed_ingestion" {
  name = "access"
  role = aws_iam_role.failed_ingestion.name

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "states:StartExecution", Resource = local.ingestion_machine_arns["end_ingestion"] }]
  })
}
