# The whole root: who may do what, what is open, what is protected, where it is found. The local
# stack does not enforce IAM, so a missing or an unneeded permission shows here or on AWS.

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "aws" {
  alias  = "us_east_1"
  source = "./tests/mocks"
}

override_resource {
  target = module.key["secrets"].aws_kms_key.this
  values = { arn = "arn:aws:kms:us-east-1:123456789012:key/secrets" }
}

override_resource {
  target = aws_secretsmanager_secret.signing
  values = { arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:signing" }
}

override_resource {
  target = module.function["embed"].aws_iam_role.this
  values = { arn = "arn:aws:iam::123456789012:role/embed" }
}

override_resource {
  target = module.function["migrate"].aws_iam_role.this
  values = { arn = "arn:aws:iam::123456789012:role/migrate" }
}

variables {
  environment       = "test"
  bedrock_model_id  = "us.anthropic.claude-sonnet-4-20250514-v1:0"
  bedrock_model_ids = ["us.anthropic.claude-sonnet-4-20250514-v1:0", "amazon.nova-lite-v1:0"]
  mail_sender       = "no-reply@example.com"
  client_url        = "https://chat.example.com"
  web_search_key    = "a-key"
  database          = { min_capacity = 0.5, max_capacity = 1 }
}

run "on_aws" {
  command = apply

  assert {
    condition = alltrue([
      for function in module.function : !strcontains(join(",", flatten(jsondecode(function.policy).Statement[*].Action)), "*")
    ])
    error_message = "Actions are named one by one."
  }

  assert {
    condition = alltrue(flatten([
      for function in module.function : [
        for statement in jsondecode(function.policy).Statement :
        !contains(flatten([statement.Resource]), "*") || alltrue([for action in statement.Action : startswith(action, "xray:")])
      ]
    ]))
    error_message = "Only X-Ray, which knows no resources, is given all of them."
  }

  assert {
    condition = toset([
      for key, function in module.function : key
      if strcontains(function.policy, "secret:signing")
    ]) == toset(["auth", "authorizer", "rotate_signing_key"])
    error_message = "Only sign-in, the authorizer and the rotation read the signing keys."
  }

  assert {
    condition = toset([
      for key, function in module.function : key if strcontains(function.policy, "secret:master")
    ]) == toset(["migrate"])
    error_message = "Only migrations know the cluster's master."
  }

  assert {
    condition = toset([
      for key, function in module.function : key if strcontains(function.policy, "secretsmanager:PutSecretValue")
    ]) == toset(["migrate", "rotate_signing_key", "sources"])
    error_message = "Only migrations write the logins' passwords, the rotation keys, and sources credentials."
  }

  assert {
    condition = toset([
      for key, function in module.function : key if strcontains(function.policy, ":secret:chatbot-test/source/*")
      && strcontains(function.policy, "secretsmanager:GetSecretValue")
      && !strcontains(function.policy, "secretsmanager:DeleteSecret")
    ]) == toset([for key in keys(var.functions) : key if can(regex("^(ingest|tool_backlog)_", key))])
    error_message = "Credentials of sources are read by who fetches with them."
  }

  assert {
    condition = alltrue(flatten([
      for function in ["sources", "remove_source"] : [
        for statement in jsondecode(module.function[function].policy).Statement :
        !contains(statement.Action, "secretsmanager:GetSecretValue")
        || !strcontains(jsonencode(statement.Resource), "source/")
      ]
    ]))
    error_message = "Who takes and removes credentials cannot read them."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(module.function["sources"].policy).Statement : statement.Resource
      if contains(statement.Action, "scheduler:CreateSchedule") || contains(statement.Action, "iam:PassRole")
      ])) == toset([
      "arn:aws:scheduler:us-east-1:123456789012:schedule/chatbot-test-sources/*",
      "arn:aws:iam::123456789012:role/mock",
    ])
    error_message = "Schedules are made in our group only, with the role of schedules."
  }

  assert {
    condition = {
      for key, machine in module.ingestion_state_machine : key => toset(flatten([
        for statement in jsondecode(machine.policy).Statement : statement.Action
        if !contains(flatten([statement.Resource]), "*") && !startswith(flatten([statement.Action])[0], "kms:")
      ]))
      } == {
      ingest_source = toset(["dynamodb:GetItem", "dynamodb:UpdateItem", "lambda:InvokeFunction", "states:StartExecution"])
      end_ingestion = toset(["dynamodb:GetItem", "dynamodb:UpdateItem"])
      delete_source = toset(["lambda:InvokeFunction"])
    }
    error_message = "A machine's role is what its own states do."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.scheduler.policy).Statement[0].Resource == "arn:aws:states:us-east-1:123456789012:stateMachine:chatbot-test-ingest-source"
    error_message = "Schedules of sources start the one machine."
  }

  assert {
    condition = alltrue([
      for mapping in aws_lambda_event_source_mapping.stream :
      mapping.batch_size == 10 && mapping.bisect_batch_on_function_error && mapping.maximum_retry_attempts > 0
      && mapping.maximum_record_age_in_seconds > 0 && mapping.parallelization_factor > 1
      && mapping.function_response_types == toset(["ReportBatchItemFailures"])
      && length(mapping.destination_config[0].on_failure) == 1
    ])
    error_message = "A stream's records are tried a finite number of times, alone if need be, and then kept."
  }

  assert {
    condition     = contains(keys(aws_cloudwatch_metric_alarm.this), "embed-dead-letter")
    error_message = "A document that cannot be embedded raises an alarm."
  }

  assert {
    condition     = aws_dynamodb_table.this["documents"].stream_view_type == "NEW_AND_OLD_IMAGES" && !aws_dynamodb_table.this["jobs"].stream_enabled
    error_message = "Only documents have a stream."
  }

  assert {
    condition     = local.environment.ALLOWED_PRIVATE_NETWORKS == ""
    error_message = "No private network is fetched from unless an environment names it."
  }

  assert {
    condition = toset([
      for key, function in module.function : key if strcontains(function.policy, "bedrock:InvokeModelWithResponseStream")
    ]) == toset(["chat_stream"])
    error_message = "Only the state that streams asks a model."
  }

  assert {
    condition = {
      for key, function in module.function : key => flatten([
        for statement in jsondecode(function.policy).Statement : statement.Resource
        if contains(statement.Action, "bedrock:InvokeModel")
      ]) if key != "chat_stream" && strcontains(function.policy, "bedrock:")
      } == {
      for key in ["chat_retrieve", "documents", "embed", "tool_knowledge_search"] : key => ["arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0"]
    }
    error_message = "Documents and questions are embedded by one model, by nobody else."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(module.function["chat_stream"].policy).Statement : statement.Resource
      if contains(statement.Action, "bedrock:InvokeModelWithResponseStream")
      ])) == toset([
      "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
      "arn:aws:bedrock:*::foundation-model/anthropic.claude-sonnet-4-20250514-v1:0",
      "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    ])
    error_message = "A profile is allowed with the model behind it, a model in its own region."
  }

  assert {
    condition = {
      for key, function in module.function : key => flatten([
        for statement in jsondecode(function.policy).Statement : statement.Resource
        if contains(flatten([statement.Action]), "bedrock:ApplyGuardrail")
      ]) if strcontains(function.policy, "bedrock:ApplyGuardrail")
    } == { chat_stream = ["arn:aws:bedrock:us-east-1:123456789012:guardrail/mock"] }
    error_message = "Who asks a model may have the one guardrail applied."
  }

  assert {
    condition     = local.environment.GUARDRAIL_ID == "mock" && local.environment.GUARDRAIL_VERSION == "1"
    error_message = "Functions name the guardrail's version, not its draft."
  }

  assert {
    condition = toset([
      for key, function in module.function : key if strcontains(function.policy, "stateMachine:chatbot-test-chat")
    ]) == toset(["ws_message"])
    error_message = "Only the function that takes frames starts and stops turns."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(module.chat_state_machine.policy).Statement : statement.Resource
      if contains(flatten([statement.Action]), "lambda:InvokeFunction")
      ])) == toset([
      for key, function in module.function : function.alias_arn
      if contains(["chat_retrieve", "chat_stream", "chat_end"], key) || contains(keys(local.tools), key)
    ])
    error_message = "The machine of a turn calls its states and every tool in the registry."
  }

  assert {
    condition = alltrue([
      for key, tool in local.tools :
      key == "tool_${tool.name}" && contains(keys(var.functions), key)
      && tool.timeout_seconds > 0 && tool.timeout_seconds <= 900
    ])
    error_message = "A tool is a folder of its name, with a row and a time-out."
  }

  assert {
    condition = toset([
      for key, function in module.function : key if strcontains(function.policy, "stateMachine:chatbot-test-purge")
    ]) == toset(["conversations", "users", "workspaces"])
    error_message = "Only what deletes starts a purge."
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.purge.target[0].input).request_id == "<aws.scheduler.execution-id>"
    error_message = "The daily run is told apart in the logs."
  }

  assert {
    condition = {
      for key, function in module.function : key => [
        for statement in jsondecode(function.policy).Statement : statement.Resource if contains(statement.Action, "ses:SendEmail")
      ] if strcontains(function.policy, "ses:")
    } == { send_mail = [["arn:aws:ses:us-east-1:123456789012:identity/example.com"]] }
    error_message = "One function sends mails, for the sender's domain."
  }

  assert {
    condition = toset([
      for key, function in module.function : key
      if anytrue([
        for statement in jsondecode(function.policy).Statement :
        contains(statement.Action, "sqs:SendMessage") && contains(statement.Resource, "arn:aws:sqs:us-east-1:123456789012:chatbot-test-mail")
      ])
    ]) == toset(["auth", "members"])
    error_message = "Sign-in and members wish for mails."
  }

  assert {
    condition = toset([
      for key, function in module.function : key
      if strcontains(function.policy, "stateMachine:chatbot-test-ingest") || strcontains(function.policy, "stateMachine:chatbot-test-delete-source")
    ]) == toset(["sources"])
    error_message = "Only sources start a run of a source, and what removes one."
  }

  assert {
    condition     = !strcontains(module.function["chat_stream"].policy, "rds-data:") && !strcontains(module.function["chat_end"].policy, "rds-data:")
    error_message = "A turn under way needs no database."
  }

  assert {
    condition     = strcontains(jsonencode(local.function_statements["platform"]), "dynamodb:GetItem") && !strcontains(module.function["platform"].policy, "dynamodb:PutItem")
    error_message = "Health reads a table and writes none."
  }

  assert {
    condition     = local.function_environments["migrate"].DATABASE_SECRET_ARN == module.database.master_secret_arn
    error_message = "Migrations start as the master."
  }

  assert {
    condition     = output.api_url == "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"
    error_message = "The REST API has no stage in its address and no trailing slash."
  }

  assert {
    condition     = output.websocket_url == "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/ws"
    error_message = "The WebSocket's address ends in the stage."
  }

  assert {
    condition     = !contains(keys(local.environment), "AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
    error_message = "On AWS Bedrock is Bedrock."
  }

  assert {
    condition = alltrue([
      for route in module.http_api.routes : route.authorization_type == "CUSTOM" && route.authorizer_id != null
    ])
    error_message = "Every route of the REST API asks the authorizer."
  }

  assert {
    condition     = contains(keys(module.http_api.routes), "$default")
    error_message = "A path that nobody has is answered by us."
  }

  assert {
    condition     = { for key, route in module.websocket_api.routes : key => route.authorization_type } == { "$connect" = "CUSTOM", "$default" = "NONE", "$disconnect" = "NONE" }
    error_message = "A connection is authorized when it is made; there are no other routes."
  }

  assert {
    condition = alltrue([
      for table in aws_dynamodb_table.this :
      table.deletion_protection_enabled && table.point_in_time_recovery[0].enabled && table.server_side_encryption[0].enabled
    ])
    error_message = "Tables are protected, can be restored, and use a key of ours."
  }

  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.database : secret.recovery_window_in_days == 30])
    error_message = "A deleted secret can be had back for a month."
  }
}

run "what_a_turn_waits_for_starts_from_snapshots_where_they_are_paid_for" {
  command = plan

  variables {
    snap_start = true
  }

  assert {
    condition = toset([
      for key, function in module.function : key if function.snap_start
    ]) == toset(["authorizer", "chat_stream", "ws_connect", "ws_message"])
    error_message = "Snapshots pay where somebody waits at every turn."
  }
}

run "on_the_local_stack" {
  command = apply

  variables {
    gateway_endpoint = "http://127.0.0.1:4566"
    bedrock_endpoint = "http://127.0.0.1:4511"
  }

  assert {
    condition     = output.api_url == "http://127.0.0.1:4566/_aws/execute-api/a1b2c3d4e5/$default"
    error_message = "The local REST API is a path of the gateway."
  }

  assert {
    condition     = output.websocket_url == "ws://127.0.0.1:4566/_aws/execute-api/a1b2c3d4e5/ws"
    error_message = "The local WebSocket is a path of the gateway."
  }

  assert {
    condition     = local.environment.TURN_WATCH_QUEUE_URL == "http://127.0.0.1:4566/123456789012/chatbot-test-turn-watch"
    error_message = "Queues are paths of the gateway."
  }
}

run "chunks_are_in_opensearch_where_it_is_wanted" {
  command = apply

  variables {
    opensearch = true
  }

  assert {
    condition = {
      for one in jsondecode(aws_opensearchserverless_access_policy.this["this"].policy) :
      one.Description => { roles = one.Principal, permissions = one.Rules[0].Permission }
      } == {
      create = { roles = ["arn:aws:iam::123456789012:role/migrate"], permissions = ["aoss:CreateIndex"] }
      search = { roles = [for number in range(3) : "arn:aws:iam::123456789012:role/mock"], permissions = ["aoss:ReadDocument"] }
      write  = { roles = ["arn:aws:iam::123456789012:role/embed"], permissions = ["aoss:ReadDocument", "aoss:WriteDocument"] }
    }
    error_message = "One function makes the index, one writes, three search."
  }

  assert {
    condition     = toset(flatten([for one in jsondecode(aws_opensearchserverless_access_policy.this["this"].policy) : one.Rules[*].Resource])) == toset(["index/chatbot-test/chunks"])
    error_message = "In one index of one collection."
  }

  assert {
    condition = toset([
      for key, function in module.function : key if strcontains(function.policy, "aoss:")
    ]) == toset(["chat_retrieve", "documents", "embed", "migrate", "tool_knowledge_search"])
    error_message = "Nobody else reaches the collection."
  }

  assert {
    condition = alltrue(flatten([
      for function in module.function : [
        for statement in jsondecode(function.policy).Statement :
        statement.Action == ["aoss:APIAccessAll"] && statement.Resource == ["arn:aws:aoss:us-east-1:123456789012:collection/mock"]
        if strcontains(jsonencode(statement), "aoss")
      ]
    ]))
    error_message = "And they reach this one."
  }

  assert {
    condition     = local.environment.OPENSEARCH_ENDPOINT == "https://mock.us-east-1.aoss.amazonaws.com"
    error_message = "Functions are told where it is."
  }
}

run "chunks_are_in_postgresql_alone_otherwise" {
  command = apply

  assert {
    condition     = local.environment.OPENSEARCH_ENDPOINT == "" && length(module.collection) == 0 && length(aws_opensearchserverless_access_policy.this) == 0
    error_message = "OpenSearch is an option."
  }

  assert {
    condition     = !anytrue([for function in module.function : strcontains(function.policy, "aoss:")])
    error_message = "Nobody reaches what is not there."
  }
}

run "default_model_has_to_be_allowed" {
  command = plan

  variables {
    bedrock_model_ids = ["amazon.nova-lite-v1:0"]
  }

  expect_failures = [var.bedrock_model_ids]
}

run "allowed_model_has_to_be_known" {
  command = plan

  variables {
    bedrock_model_ids = ["us.anthropic.claude-sonnet-4-20250514-v1:0", "us.anthropic.claude-9-v1:0"]
  }

  expect_failures = [var.bedrock_model_ids]
}

run "application_profile_is_called_with_what_is_behind_it" {
  command = plan

  variables {
    bedrock_model_id           = "us.anthropic.claude-sonnet-4-20250514-v1:0"
    bedrock_model_ids          = ["us.anthropic.claude-sonnet-4-20250514-v1:0"]
    bedrock_inference_profiles = { "us.anthropic.claude-sonnet-4-20250514-v1:0" = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3" }
  }

  assert {
    condition = toset(local.model_arns) == toset([
      "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
      "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
      "arn:aws:bedrock:*::foundation-model/anthropic.claude-sonnet-4-20250514-v1:0",
    ])
    error_message = "The application's profile, Bedrock's and the model."
  }

  assert {
    condition     = local.environment.BEDROCK_INFERENCE_PROFILES == "us.anthropic.claude-sonnet-4-20250514-v1:0=arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
    error_message = "Functions are told which profile a model is called through."
  }
}

run "cluster_and_tables_are_restored_to_one_time_under_new_names" {
  command = plan

  variables {
    restore = { generation = 2, time = "2026-03-29T08:30:00Z" }
  }

  assert {
    condition     = { for key, table in aws_dynamodb_table.this : key => [table.name, table.restore_source_name, table.restore_date_time] } == { for key in keys(local.tables) : key => ["chatbot-test-${key}-2", "chatbot-test-${key}", var.restore.time] }
    error_message = "Every table is made of its first generation, as it was at that time."
  }

  assert {
    condition     = local.database_cluster_arn == "arn:aws:rds:us-east-1:123456789012:cluster:chatbot-test-2" && local.restored_from == ""
    error_message = "Functions call the new cluster."
  }
}

run "the_third_generation_is_made_of_the_second" {
  command = plan

  variables {
    restore = { generation = 3, time = "2026-04-01T00:00:00Z" }
  }

  assert {
    condition     = aws_dynamodb_table.this["turns"].name == "chatbot-test-turns-3" && aws_dynamodb_table.this["turns"].restore_source_name == "chatbot-test-turns-2" && local.restored_from == "-2"
    error_message = "Each generation comes from the one before."
  }
}

run "a_generation_without_a_time_is_imported" {
  command = plan

  variables {
    restore = { generation = 2 }
  }

  assert {
    condition     = aws_dynamodb_table.this["turns"].name == "chatbot-test-turns-2" && aws_dynamodb_table.this["turns"].restore_source_name == null && local.restored_to == null
    error_message = "AWS Backup made it; Terraform only takes it over."
  }
}

run "restores_to_no_time_of_ours_are_refused" {
  command = plan

  variables {
    restore = { generation = 1, time = "29 March 2026" }
  }

  expect_failures = [var.restore]
}
