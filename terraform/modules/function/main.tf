# A function with its role, its log group and the alias `live`, which everybody calls.

resource "aws_s3_object" "this" {
  bucket      = var.artifact_bucket
  key         = var.artifact_key
  source      = var.archive
  source_hash = filemd5(var.archive)
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_kms_key_arn
}

resource "aws_iam_role" "this" {
  name                 = var.name
  description          = "Role of the function ${var.name}"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

locals {
  # What every function does: log, trace, read its own environment, hand over a failed event.
  own_statements = [
    {
      actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
    },
    # X-Ray knows no resources to name here.
    { actions = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"], resources = ["*"] },
    { actions = ["kms:Decrypt"], resources = [var.kms_key_arn] },
    { actions = ["sqs:SendMessage"], resources = [var.dead_letter_queue_arn] },
  ]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for statement in concat(local.own_statements, var.statements) : {
        Effect   = "Allow"
        Action   = statement.actions
        Resource = statement.resources
      }
    ]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "access"
  role   = aws_iam_role.this.name
  policy = local.policy
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_117: the Data API, DynamoDB and Bedrock are IAM endpoints; a VPC would add nothing but cold starts
  #checkov:skip=CKV_AWS_272: the same pipeline builds and deploys the zip, so a signature would prove nothing
  function_name                  = var.name
  description                    = var.description
  role                           = aws_iam_role.this.arn
  handler                        = var.handler
  runtime                        = var.runtime
  architectures                  = [var.architecture]
  layers                         = var.layers
  memory_size                    = var.memory
  timeout                        = var.timeout
  reserved_concurrent_executions = var.concurrency
  publish                        = true

  s3_bucket         = aws_s3_object.this.bucket
  s3_key            = aws_s3_object.this.key
  s3_object_version = aws_s3_object.this.version_id
  source_code_hash  = filebase64sha256(var.archive)

  kms_key_arn = var.kms_key_arn

  environment {
    variables = var.environment
  }

  dynamic "snap_start" {
    for_each = var.snap_start ? ["PublishedVersions"] : []

    content {
      apply_on = snap_start.value
    }
  }

  dead_letter_config {
    target_arn = var.dead_letter_queue_arn
  }

  tracing_config {
    mode = "Active"
  }

  # Lambda checks at once whether the role may use the queue, and would else make a log group of
  # its own, without retention and key.
  depends_on = [aws_iam_role_policy.this, aws_cloudwatch_log_group.this]
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The version that is called"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version
}
