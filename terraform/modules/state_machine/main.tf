# A Standard state machine with its log group and a role that its own definition asks for.

locals {
  # Every ARN that stands in the definition as text, by the service it names.
  function_arns = distinct(concat(
    regexall("arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]+(?::[A-Za-z0-9_-]+)?", var.definition),
    tolist(var.function_arns),
  ))
  machine_arns = distinct(regexall("arn:[a-z-]+:states:[a-z0-9-]+:[0-9]{12}:stateMachine:[A-Za-z0-9_-]+", var.definition))

  # Task resources, such as lambda:invoke or sqs:sendMessage.
  integrations = distinct([
    for name in regexall("\"arn:[a-z-]+:states:::([a-z0-9-]+(?::[a-z0-9]+)?:[A-Za-z]+)(?:\\.[A-Za-z]+)?\"", var.definition) : name[0]
  ])

  # What a task's resource asks of the role. A type that is not here fails the plan.
  actions = {
    "lambda:invoke"               = { actions = ["lambda:InvokeFunction"], resources = local.function_arns }
    "states:startExecution"       = { actions = ["states:StartExecution"], resources = local.machine_arns }
    "dynamodb:getItem"            = { actions = ["dynamodb:GetItem"], resources = tolist(var.table_arns) }
    "dynamodb:updateItem"         = { actions = ["dynamodb:UpdateItem"], resources = tolist(var.table_arns) }
    "aws-sdk:dynamodb:updateItem" = { actions = ["dynamodb:UpdateItem"], resources = tolist(var.table_arns) }
    # Our transactions only update.
    "aws-sdk:dynamodb:transactWriteItems" = { actions = ["dynamodb:UpdateItem"], resources = tolist(var.table_arns) }
  }

  statements = concat(
    [for integration in local.integrations : local.actions[integration]],
    [
      # Delivery of logs and traces knows no resources to name.
      {
        actions = [
          "logs:CreateLogDelivery",
          "logs:DeleteLogDelivery",
          "logs:DescribeLogGroups",
          "logs:DescribeResourcePolicies",
          "logs:GetLogDelivery",
          "logs:ListLogDeliveries",
          "logs:PutResourcePolicy",
          "logs:UpdateLogDelivery",
        ]
        resources = ["*"]
      },
      {
        actions = [
          "xray:GetSamplingRules",
          "xray:GetSamplingTargets",
          "xray:PutTelemetryRecords",
          "xray:PutTraceSegments",
        ]
        resources = ["*"]
      },
      { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [var.kms_key_arn] },
    ],
  )

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for statement in local.statements : {
        Effect   = "Allow"
        Action   = statement.actions
        Resource = statement.resources
      }
    ]
  })
}

resource "aws_iam_role" "this" {
  name                 = "${var.name}-state-machine" # a function can have the same name
  description          = "Role of the state machine ${var.name}"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "states.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "access"
  role   = aws_iam_role.this.name
  policy = local.policy
}

resource "aws_cloudwatch_log_group" "this" {
  # This prefix keeps the resource policy of log deliveries, which AWS writes, short.
  name              = "/aws/vendedlogs/states/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_kms_key_arn
}

resource "aws_sfn_state_machine" "this" {
  #checkov:skip=CKV_AWS_285: all events are logged, but without their data, which can be people's words
  name       = var.name
  type       = "STANDARD"
  role_arn   = aws_iam_role.this.arn
  definition = var.definition

  # Data of executions is not logged: the history shows it to those who may read it.
  logging_configuration {
    log_destination        = "${aws_cloudwatch_log_group.this.arn}:*"
    include_execution_data = false
    level                  = "ALL"
  }

  tracing_configuration {
    enabled = true
  }

  encryption_configuration {
    type                              = "CUSTOMER_MANAGED_KMS_KEY"
    kms_key_id                        = var.kms_key_arn
    kms_data_key_reuse_period_seconds = 300
  }

  # Step Functions checks at once whether the role may deliver logs.
  depends_on = [aws_iam_role_policy.this]
}
