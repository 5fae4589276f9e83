# A function alone: what it may do without being given anything, and what it refuses.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                  = "test"
  description           = "Tests."
  handler               = "functions.test.handler.handler"
  runtime               = "python3.12"
  architecture          = "arm64"
  memory                = 512
  timeout               = 29
  environment           = { NAME = "value" }
  layers                = []
  archive               = "terraform.tf" # any file: nothing is deployed
  artifact_bucket       = "bucket"
  artifact_key          = "functions/test.zip"
  dead_letter_queue_arn = "arn:aws:sqs:us-east-1:123456789012:dead-letter"
  kms_key_arn           = "arn:aws:kms:us-east-1:123456789012:key/data"
  log_kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/logs"
  log_retention_days    = 30
}

run "role_without_access_logs_traces_and_hands_over_failed_events" {
  command = apply

  module {
    source = "./modules/function"
  }

  assert {
    condition = toset(flatten(jsondecode(output.policy).Statement[*].Action)) == toset([
      "kms:Decrypt",
      "logs:CreateLogStream",
      "logs:PutLogEvents",
      "sqs:SendMessage",
      "xray:PutTelemetryRecords",
      "xray:PutTraceSegments",
    ])
    error_message = "A role has nothing beside this that it was not given."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/test" && aws_cloudwatch_log_group.this.retention_in_days == 30
    error_message = "The log group is Lambda's own, with retention."
  }

  assert {
    condition     = aws_lambda_alias.live.function_version == aws_lambda_function.this.version
    error_message = "`live` is the version that was published last."
  }
}

run "new_environments_start_from_nothing_unless_asked" {
  command = plan

  module {
    source = "./modules/function"
  }

  assert {
    condition     = length(aws_lambda_function.this.snap_start) == 0 && !output.snap_start
    error_message = "A snapshot costs money and is asked for."
  }
}

run "new_environments_start_from_the_published_versions_snapshot_when_asked" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    snap_start = true
  }

  assert {
    condition     = aws_lambda_function.this.snap_start[0].apply_on == "PublishedVersions" && output.snap_start
    error_message = "Snapshots are taken of published versions."
  }

  assert {
    condition     = aws_lambda_function.this.publish
    error_message = "Lambda takes snapshots of published versions only."
  }
}

run "wildcard_action_is_refused" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    statements = [{ actions = ["dynamodb:*"], resources = ["*"] }]
  }

  expect_failures = [var.statements]
}
