# From `access` in functions.tf to the statements of each function's own role: resource, level,
# and what a function may then do with what. No wildcard actions.
locals {
  table_actions = {
    read = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]
    write = [
      "dynamodb:BatchWriteItem",
      "dynamodb:ConditionCheckItem",
      "dynamodb:DeleteItem",
      "dynamodb:PutItem",
      "dynamodb:UpdateItem",
    ]
  }

  # A large document takes more than one statement.
  database_actions = {
    app = ["rds-data:ExecuteStatement"]
    worker = [
      "rds-data:BeginTransaction",
      "rds-data:CommitTransaction",
      "rds-data:ExecuteStatement",
      "rds-data:RollbackTransaction",
    ]
  }

  queue_actions = {
    read  = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    write = ["sqs:SendMessage"]
  }

  rotation_actions = [
    "secretsmanager:DescribeSecret",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
  ]

  # An inference profile is called under its own name and, behind it, under the model's: in every
  # region that a cross-region profile routes to. An application profile stands before either.
  model_arns = flatten([
    for model in var.bedrock_model_ids : [
      [for id, profile in var.bedrock_inference_profiles : profile if id == model],
      can(regex(local.cross_region, model))
      ? [
        "arn:${local.partition}:bedrock:${var.aws_region}:${local.account_id}:inference-profile/${model}",
        "arn:${local.partition}:bedrock:*::foundation-model/${regex("^[^.]+\\.(.+)$", model)[0]}",
      ]
      : ["arn:${local.partition}:bedrock:${var.aws_region}::foundation-model/${model}"],
    ]
  ])
  known_models = jsondecode(file("${path.module}/../layers/shared/python/chatbot/models.json"))[*].model_id
  cross_region = "^(us|us-gov|ca|eu|apac|jp|au|global)\\."

  document_actions = {
    read  = { actions = ["s3:GetObject"], resources = ["${module.document_bucket.arn}/*"] }
    list  = { actions = ["s3:ListBucket"], resources = [module.document_bucket.arn] }
    write = { actions = ["s3:DeleteObject", "s3:PutObject"], resources = ["${module.document_bucket.arn}/*"] }
  }

  use_of_data_key   = { actions = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"], resources = [module.key["data"].arn] }
  use_of_secret_key = { actions = ["kms:Decrypt"], resources = [module.key["secrets"].arn] }

  grants = merge(
    {
      for table in keys(local.tables) : table => {
        for level, actions in {
          read      = local.table_actions.read
          write     = local.table_actions.write
          readwrite = concat(local.table_actions.read, local.table_actions.write)
          } : level => [
          { actions = actions, resources = concat([local.table_arns[table]], local.index_arns[table]) },
          local.use_of_data_key,
        ]
      }
    },
    {
      turn_watch = {
        for level, actions in {
          read      = local.queue_actions.read
          write     = local.queue_actions.write
          readwrite = concat(local.queue_actions.read, local.queue_actions.write)
        } : level => [{ actions = actions, resources = [local.turn_watch_queue_arn] }]
      }
      mail = {
        for level, actions in { read = local.queue_actions.read, write = local.queue_actions.write } : level => [
          { actions = actions, resources = [local.mail_queue_arn] },
          local.use_of_data_key,
        ]
      }
      mail_sender = {
        send = [{ actions = ["ses:SendEmail"], resources = [local.mail_identity_arn] }]
      }
      signing_secret = {
        read = [
          { actions = ["secretsmanager:GetSecretValue"], resources = [aws_secretsmanager_secret.signing.arn] },
          local.use_of_secret_key,
        ]
        rotate = [
          { actions = local.rotation_actions, resources = [aws_secretsmanager_secret.signing.arn] },
          { actions = ["secretsmanager:GetSecretValue"], resources = [aws_secretsmanager_secret.signing.arn] },
          { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [module.key["secrets"].arn] },
        ]
      }
      database = merge(
        {
          for login in ["app", "worker"] : login => [
            { actions = local.database_actions[login], resources = [local.database_cluster_arn] },
            { actions = ["secretsmanager:GetSecretValue"], resources = [aws_secretsmanager_secret.database[login].arn] },
            local.use_of_secret_key,
          ]
        },
        {
          # Makes the logins and renews their passwords, so it reads the master's secret and writes theirs.
          migrator = [
            {
              actions = [
                "rds-data:BatchExecuteStatement",
                "rds-data:BeginTransaction",
                "rds-data:CommitTransaction",
                "rds-data:ExecuteStatement",
                "rds-data:RollbackTransaction",
              ]
              resources = [local.database_cluster_arn]
            },
            {
              actions = ["secretsmanager:GetSecretValue"]
              resources = concat(
                [module.database.master_secret_arn],
                [for secret in values(aws_secretsmanager_secret.database) : secret.arn],
              )
            },
            {
              actions   = local.rotation_actions
              resources = [for secret in values(aws_secretsmanager_secret.database) : secret.arn]
            },
            { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [module.key["secrets"].arn] },
          ]
        },
      )
      chat_state_machine = {
        # Whoever starts a turn also stops it, when its client cancels it, and has it go on, when
        # its client approves of a tool.
        start = [
          { actions = ["states:SendTaskSuccess", "states:StartExecution"], resources = [local.chat_state_machine_arn] },
          {
            actions   = ["states:StopExecution"]
            resources = ["${local.arn_prefixes.states}:execution:${local.chat_state_machine_name}:*"]
          },
        ]
      }
      purge_state_machine = {
        start = [{ actions = ["states:StartExecution"], resources = [local.purge_state_machine_arn] }]
      }
      document_texts = {
        read      = [local.document_actions.read, local.use_of_data_key]
        write     = [local.document_actions.write, local.use_of_data_key]
        readwrite = [local.document_actions.read, local.document_actions.list, local.document_actions.write, local.use_of_data_key]
      }
      documents_stream = {
        read = [
          {
            actions = [
              "dynamodb:DescribeStream",
              "dynamodb:GetRecords",
              "dynamodb:GetShardIterator",
              "dynamodb:ListStreams",
            ]
            resources = ["${local.table_arns.documents}/stream/*"]
          },
          local.use_of_data_key,
        ]
      }
      embed_dead_letter = {
        write = [{ actions = local.queue_actions.write, resources = [local.embed_dead_letter_arn] }]
      }
      # What of its index is said by the collection's own policy.
      opensearch = {
        for level in keys(local.index_permissions) : level => [
          for collection in values(module.collection) :
          { actions = ["aoss:APIAccessAll"], resources = [collection.arn] }
        ]
      }
      ingest_state_machine = {
        start = [{ actions = ["states:StartExecution"], resources = [local.ingestion_machine_arns["ingest_source"]] }]
      }
      remove_state_machine = {
        start = [{ actions = ["states:StartExecution"], resources = [local.ingestion_machine_arns["delete_source"]] }]
      }
      source_secrets = {
        read = [
          { actions = ["secretsmanager:GetSecretValue"], resources = [local.source_secret_arns] },
          local.use_of_secret_key,
        ]
        # Credentials are written, and never read again, by the one who takes them from a client.
        write = [
          {
            actions = [
              "secretsmanager:CreateSecret",
              "secretsmanager:DeleteSecret",
              "secretsmanager:PutSecretValue",
            ]
            resources = [local.source_secret_arns]
          },
          { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [module.key["secrets"].arn] },
        ]
        delete = [{ actions = ["secretsmanager:DeleteSecret"], resources = [local.source_secret_arns] }]
      }
      web_search_secret = {
        read = [
          { actions = ["secretsmanager:GetSecretValue"], resources = [aws_secretsmanager_secret.web_search.arn] },
          local.use_of_secret_key,
        ]
      }
      source_schedules = {
        write = [
          {
            actions   = ["scheduler:CreateSchedule", "scheduler:UpdateSchedule"]
            resources = [local.source_schedule_arns]
          },
          { actions = ["iam:PassRole"], resources = [aws_iam_role.scheduler.arn] },
        ]
        delete = [{ actions = ["scheduler:DeleteSchedule"], resources = [local.source_schedule_arns] }]
      }
      bedrock = {
        invoke = [{
          actions   = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
          resources = local.model_arns
          },
          { actions = ["bedrock:ApplyGuardrail"], resources = [aws_bedrock_guardrail.this.guardrail_arn] },
        ]
        embed = [{
          actions   = ["bedrock:InvokeModel"]
          resources = ["arn:${local.partition}:bedrock:${var.aws_region}::foundation-model/${local.embedding_model_id}"]
        }]
      }
      websocket = {
        # POST sends a frame, DELETE closes a connection.
        post = [{
          actions = ["execute-api:ManageConnections"]
          resources = [
            for method in ["DELETE", "POST"] :
            "${module.websocket_api.execution_arn}/${local.websocket_stage}/${method}/@connections/*"
          ]
        }]
      }
    },
  )

  function_statements = {
    for key, function in var.functions : key => distinct(flatten([
      [for resource, level in merge(startswith(key, "tool_") ? local.tool_access : {}, function.access) : local.grants[resource][level]],
      function.stream == null ? [] : local.grants["${function.stream}_stream"].read,
    ]))
  }
}
