# One row a function. The key is the folder under functions/; the function is called
# chatbot-<environment>-<key with dashes>, its role holds what `access` says and nothing else.
# A new function is its folder and a row here.
variable "functions" {
  description = <<-EOT
    What each function needs:
    - `description`: what it does, one sentence
    - `memory` in MiB and `timeout` in seconds (of a tool, its file says it)
    - `routes`: routes of the REST API that it serves; `websocket_route`: its route of the WebSocket API
    - `stream`: table whose changes it is called with
    - `access`: resource to level; the levels of each resource are in access.tf
    - `environment`: variables beside the shared ones
    - `concurrency`: executions at once that are set aside for it and that it may not pass; -1: none
    - `snap_start`: whether it starts from a snapshot where the environment pays for these
  EOT
  type = map(object({
    description     = string
    memory          = optional(number, 512)
    timeout         = optional(number, 29)
    routes          = optional(set(string), [])
    websocket_route = optional(string)
    stream          = optional(string)
    access          = optional(map(string), {})
    environment     = optional(map(string), {})
    concurrency     = optional(number, -1)
    snap_start      = optional(bool, false)
  }))

  default = {
    # --- REST: each handler asks the stores only after its shared decorator checked the principal.
    auth = {
      description = "Serves registration, sign-in, sessions and WebSocket tickets."
      memory      = 1769 # bcrypt: one whole virtual CPU
      routes      = ["ANY /api/v1/auth/{proxy+}"]
      # Whose password is reset is cut off: connections are closed, running turns cancelled.
      access = {
        connections    = "readwrite"
        database       = "app"
        guards         = "readwrite"
        mail           = "write"
        signing_secret = "read"
        turn_watch     = "write"
        turns          = "readwrite"
        websocket      = "post"
      }
    }
    users = {
      description = "Serves accounts."
      memory      = 1769 # bcrypt, for a changed password
      routes      = ["ANY /api/v1/users", "ANY /api/v1/users/{proxy+}"]
      # Of an account that goes or is switched off, the same.
      access = {
        connections         = "readwrite"
        database            = "app"
        guards              = "readwrite"
        purge_state_machine = "start"
        turn_watch          = "write"
        turns               = "readwrite"
        websocket           = "post"
      }
    }
    workspaces = {
      description = "Serves workspaces."
      routes      = ["ANY /api/v1/workspaces", "ANY /api/v1/workspaces/{workspace_id}"]
      access      = { database = "app", guards = "readwrite", purge_state_machine = "start" }
    }
    members = {
      description = "Serves members and invitations."
      routes = [
        "ANY /api/v1/workspaces/{workspace_id}/members",
        "ANY /api/v1/workspaces/{workspace_id}/members/{proxy+}",
        "ANY /api/v1/workspaces/{workspace_id}/invitations",
        "ANY /api/v1/workspaces/{workspace_id}/invitations/{proxy+}",
      ]
      # A removed member's turns in the workspace are cancelled, and nothing of it reaches them.
      access = {
        connections = "readwrite"
        database    = "app"
        guards      = "readwrite"
        mail        = "write"
        turn_watch  = "write"
        turns       = "readwrite"
        websocket   = "post"
      }
    }
    roles = {
      description = "Serves roles and the permissions that there are."
      routes = [
        "ANY /api/v1/workspaces/{workspace_id}/roles",
        "ANY /api/v1/workspaces/{workspace_id}/roles/{proxy+}",
        "ANY /api/v1/workspaces/{workspace_id}/permissions",
      ]
      access = { database = "app", guards = "readwrite" }
    }
    chatbots = {
      description = "Serves chatbots and the models that they may use."
      routes = [
        "ANY /api/v1/workspaces/{workspace_id}/models",
        "ANY /api/v1/workspaces/{workspace_id}/chatbots",
        "ANY /api/v1/workspaces/{workspace_id}/chatbots/{proxy+}",
      ]
      access = { database = "app", guards = "readwrite" }
    }
    conversations = {
      description = "Serves conversations and their messages."
      routes = [
        "ANY /api/v1/workspaces/{workspace_id}/conversations",
        "ANY /api/v1/workspaces/{workspace_id}/conversations/{proxy+}",
      ]
      # Beside its own table all that a running turn is ended with, before its conversation goes.
      access = {
        connections         = "readwrite"
        conversations       = "readwrite"
        database            = "app"
        guards              = "readwrite"
        purge_state_machine = "start"
        turns               = "readwrite"
        usage               = "readwrite"
        websocket           = "post"
      }
    }
    feedback = {
      description = "Serves ratings of answers and their sums."
      routes = [
        "ANY /api/v1/workspaces/{workspace_id}/conversations/{conversation_id}/messages/{message_id}/feedback",
        "ANY /api/v1/workspaces/{workspace_id}/feedback",
        "ANY /api/v1/workspaces/{workspace_id}/feedback/summary",
      ]
      access = { conversations = "readwrite", database = "app", feedback = "readwrite", guards = "readwrite" }
    }
    usage = {
      description = "Serves what answers have used and cost."
      routes      = ["ANY /api/v1/workspaces/{workspace_id}/usage"]
      access      = { database = "app", guards = "readwrite", usage = "read" }
    }
    audit = {
      description = "Serves the audit trail."
      routes      = ["ANY /api/v1/workspaces/{workspace_id}/audit"]
      access      = { database = "app", guards = "readwrite" }
    }
    documents = {
      description = "Serves documents and the search in them."
      memory      = 1024
      routes = [
        "ANY /api/v1/workspaces/{workspace_id}/documents",
        "ANY /api/v1/workspaces/{workspace_id}/documents/{proxy+}",
        "ANY /api/v1/workspaces/{workspace_id}/search",
      ]
      access = {
        bedrock        = "embed"
        database       = "app"
        document_texts = "write"
        documents      = "readwrite"
        guards         = "readwrite"
        jobs           = "readwrite"
        opensearch     = "search"
      }
    }
    tools = {
      description = "Serves the list of tools."
      routes      = ["ANY /api/v1/workspaces/{workspace_id}/tools"]
      access      = { database = "app", guards = "readwrite" }
    }
    sources = {
      description = "Serves sources, their schedules and credentials, and their jobs."
      routes = [
        "ANY /api/v1/workspaces/{workspace_id}/jobs",
        "ANY /api/v1/workspaces/{workspace_id}/jobs/{proxy+}",
        "ANY /api/v1/workspaces/{workspace_id}/sources",
        "ANY /api/v1/workspaces/{workspace_id}/sources/{proxy+}",
      ]
      access = {
        database             = "app"
        documents            = "readwrite"
        guards               = "readwrite"
        ingest_state_machine = "start"
        jobs                 = "readwrite"
        remove_state_machine = "start"
        source_schedules     = "write"
        source_secrets       = "write"
      }
    }
    platform = {
      description = "Serves health, and 404 for every path that no other function has."
      routes      = ["GET /health", "GET /health/{proxy+}", "$default"]
      access      = { database = "app", guards = "read" }
    }

    # --- Gateway
    authorizer = {
      description = "Tells the REST API and the WebSocket API who the caller is."
      timeout     = 9 # API Gateway gives an authorizer 10 seconds
      snap_start  = true
      access      = { database = "app", guards = "readwrite", signing_secret = "read" }
    }
    ws_connect = {
      description     = "Remembers a WebSocket connection."
      websocket_route = "$connect"
      snap_start      = true
      access          = { connections = "readwrite" }
    }
    ws_message = {
      description     = "Takes every frame that a client sends."
      memory          = 1024
      websocket_route = "$default"
      snap_start      = true
      access = {
        chat_state_machine = "start"
        connections        = "readwrite"
        conversations      = "readwrite"
        database           = "app"
        guards             = "readwrite"
        turn_watch         = "write"
        turns              = "readwrite"
        usage              = "readwrite"
        websocket          = "post"
      }
    }
    ws_disconnect = {
      description     = "Forgets a WebSocket connection."
      websocket_route = "$disconnect"
      access          = { connections = "readwrite" }
    }

    # --- Chat states
    chat_retrieve = {
      description = "Finds the passages that an answer may be made from."
      memory      = 1024
      timeout     = 60
      access = {
        bedrock       = "embed"
        conversations = "read"
        database      = "worker"
        opensearch    = "search"
        turns         = "readwrite"
      }
    }
    chat_stream = {
      description = "Streams one round of an answer from the model to its followers."
      memory      = 1024
      timeout     = 900
      snap_start  = true
      access = {
        bedrock       = "invoke"
        connections   = "readwrite"
        conversations = "read"
        documents     = "read"
        turns         = "readwrite"
        usage         = "write"
        websocket     = "post"
      }
    }
    chat_end = {
      description = "Ends a turn: after its machine, for a failed execution, for an expired lease."
      timeout     = 60
      access = {
        connections   = "readwrite"
        conversations = "readwrite"
        turn_watch    = "readwrite"
        turns         = "readwrite"
        usage         = "readwrite"
        websocket     = "post"
      }
    }

    # --- Tools: each is its folder with a tool.json, and this row. What every tool may do is in tools.tf.
    tool_web_search = {
      description = "Tool: searches the web."
      access      = { web_search_secret = "read" }
    }
    tool_backlog_search = {
      description = "Tool: finds issues in connected Backlog projects."
      access      = { source_secrets = "read" }
    }
    tool_backlog_create = {
      description = "Tool: creates an issue in a connected Backlog project."
      access      = { source_secrets = "read" }
    }
    tool_knowledge_search = {
      description = "Tool: searches the workspace's documents."
      access      = { bedrock = "embed", opensearch = "search" }
    }

    # --- Stream consumer
    embed = {
      description = "Keeps the search index as the documents are."
      memory      = 1024
      timeout     = 300
      stream      = "documents"
      access = {
        bedrock           = "embed"
        database          = "worker"
        document_texts    = "readwrite"
        documents         = "readwrite"
        embed_dead_letter = "write"
        opensearch        = "write"
      }
    }

    # --- Ingestion states: a provider is its folder, this row, and a branch in the machine.
    ingest_slack = {
      description = "Fetches threads of Slack for a while."
      timeout     = 300
      access      = { documents = "readwrite", document_texts = "write", jobs = "readwrite", source_secrets = "read" }
    }
    ingest_gitlab = {
      description = "Fetches issues, merge requests, wikis and files of GitLab for a while."
      timeout     = 300
      access      = { documents = "readwrite", document_texts = "write", jobs = "readwrite", source_secrets = "read" }
    }
    ingest_backlog = {
      description = "Fetches issues and wikis of Backlog for a while."
      timeout     = 300
      access      = { documents = "readwrite", document_texts = "write", jobs = "readwrite", source_secrets = "read" }
    }
    remove_source = {
      description = "Removes what a deleted source leaves, for a while."
      timeout     = 300
      access = {
        database         = "worker"
        documents        = "readwrite"
        jobs             = "readwrite"
        source_schedules = "delete"
        source_secrets   = "delete"
      }
    }

    # --- Operations
    send_mail = {
      description = "Sends mails with links to verify, to reset and to join."
      timeout     = 60
      access      = { database = "app", guards = "readwrite", mail = "read", mail_sender = "send" }
    }
    migrate = {
      description = "Brings the database's schema and logins up to date."
      timeout     = 900
      access      = { database = "migrator", opensearch = "create" }
    }
    rotate_signing_key = {
      description = "Renews the keys that sign access tokens."
      access      = { signing_secret = "rotate" }
    }
    purge = {
      description = "Removes what belongs to a deleted conversation, user or workspace."
      timeout     = 600
      access = {
        connections      = "readwrite"
        conversations    = "readwrite"
        database         = "worker"
        document_texts   = "readwrite"
        documents        = "readwrite"
        feedback         = "readwrite"
        jobs             = "readwrite"
        source_schedules = "delete"
        source_secrets   = "delete"
        turn_watch       = "write"
        turns            = "readwrite"
        usage            = "readwrite"
        websocket        = "post"
      }
    }
  }

  validation {
    condition     = alltrue([for key in keys(var.functions) : can(regex("^[a-z][a-z0-9]*(_[a-z0-9]+)*$", key))])
    error_message = "A function's key is its folder's name: lower-case words with underscores."
  }

  validation {
    condition     = alltrue([for function in values(var.functions) : function.memory >= 128 && function.memory <= 10240])
    error_message = "A function has 128 to 10240 MiB."
  }

  validation {
    condition = alltrue([
      for function in values(var.functions) :
      function.timeout <= (length(function.routes) > 0 || function.websocket_route != null ? 29 : 900)
    ])
    error_message = "Lambda gives a function 900 seconds, API Gateway one behind a route 29."
  }

  validation {
    condition     = length(flatten([for function in values(var.functions) : function.routes])) == length(distinct(flatten([for function in values(var.functions) : function.routes])))
    error_message = "A route of the REST API belongs to one function."
  }

  validation {
    condition = alltrue([
      for route in flatten([for function in values(var.functions) : tolist(function.routes)]) :
      can(regex("^(\\$default|(ANY|GET|POST|PUT|PATCH|DELETE) /\\S*)$", route))
    ])
    error_message = "A route is a method and a path, or $default."
  }
}

locals {
  runtime = "python3.12"

  layers = toset(["dependencies", "shared"])

  function_names = { for key in keys(var.functions) : key => "${local.name}-${replace(key, "_", "-")}" }

  build_directory = "${var.build_directory}/${var.lambda_architecture}"

  # The variables of layers/shared/python/chatbot/settings.py: the same for every function. What a
  # function may reach of it is its role's affair.
  environment = merge(
    {
      ENVIRONMENT                 = var.environment
      VERSION                     = var.release
      DEBUG                       = tostring(var.debug)
      ACCESS_TOKEN_SECONDS        = tostring(var.access_token_seconds)
      REFRESH_TOKEN_SECONDS       = tostring(var.refresh_token_seconds)
      REFRESH_FAMILY_SECONDS      = tostring(var.refresh_family_seconds)
      REGISTRATION_ENABLED        = tostring(var.registration_enabled)
      EMAIL_VERIFICATION_REQUIRED = tostring(var.email_verification_required)
      ADDRESS_REQUESTS_PER_MINUTE = tostring(var.address_requests_per_minute)
      USER_REQUESTS_PER_MINUTE    = tostring(var.user_requests_per_minute)
      SIGN_IN_ATTEMPTS_PER_MINUTE = tostring(var.sign_in_attempts_per_minute)
      CHATS_PER_MINUTE            = tostring(var.chats_per_minute)
      MAX_CONCURRENT_TURNS        = tostring(var.max_concurrent_turns)
      APPROVAL_TIMEOUT_SECONDS    = tostring(var.approval_timeout_seconds)
      MONTHLY_TOKENS              = tostring(var.monthly_tokens)
      CONVERSATION_RETENTION_DAYS = tostring(var.conversation_retention_days)
      BEDROCK_MODEL_ID            = var.bedrock_model_id
      BEDROCK_MODEL_IDS           = join(",", var.bedrock_model_ids)
      BEDROCK_INFERENCE_PROFILES  = join(",", [for model, profile in var.bedrock_inference_profiles : "${model}=${profile}"])
      GUARDRAIL_ID                = aws_bedrock_guardrail.this.guardrail_id
      GUARDRAIL_VERSION           = aws_bedrock_guardrail_version.this.version
      DATABASE_CLUSTER_ARN        = local.database_cluster_arn
      DATABASE_NAME               = local.database_name
      DATABASE_WAIT_SECONDS       = tostring(var.database_wait_seconds)
      SIGNING_SECRET_ARN          = aws_secretsmanager_secret.signing.arn
      CONVERSATIONS_TABLE         = local.table_names.conversations
      TURNS_TABLE                 = local.table_names.turns
      CONNECTIONS_TABLE           = local.table_names.connections
      GUARDS_TABLE                = local.table_names.guards
      USAGE_TABLE                 = local.table_names.usage
      FEEDBACK_TABLE              = local.table_names.feedback
      MAIL_QUEUE_URL              = local.mail_queue_url
      MAIL_SENDER                 = var.mail_sender
      CLIENT_URL                  = var.client_url
      TURN_WATCH_QUEUE_URL        = local.turn_watch_queue_url
      CHAT_STATE_MACHINE_ARN      = local.chat_state_machine_arn
      PURGE_STATE_MACHINE_ARN     = local.purge_state_machine_arn
      DOCUMENTS_TABLE             = local.table_names.documents
      DOCUMENTS_BUCKET            = module.document_bucket.name
      EMBED_DEAD_LETTER_QUEUE_URL = local.embed_dead_letter_url
      OPENSEARCH_ENDPOINT         = local.opensearch_endpoint
      JOBS_TABLE                  = local.table_names.jobs
      INGEST_STATE_MACHINE_ARN    = local.ingestion_machine_arns["ingest_source"]
      REMOVE_STATE_MACHINE_ARN    = local.ingestion_machine_arns["delete_source"]
      SOURCE_SCHEDULE_GROUP       = local.source_schedule_group
      SCHEDULER_ROLE_ARN          = aws_iam_role.scheduler.arn
      SCHEDULER_DEAD_LETTER_ARN   = aws_sqs_queue.dead_letter.arn
      SOURCE_SECRET_PREFIX        = local.source_secret_prefix
      ALLOWED_PRIVATE_NETWORKS    = join(",", var.allowed_private_networks)
      SWEEP_MAX_PERCENT           = tostring(var.sweep_max_percent)
      WEB_SEARCH_PROVIDER         = var.web_search_provider == null ? "" : var.web_search_provider
      WEB_SEARCH_URL              = var.web_search_url == null ? "" : var.web_search_url
      WEB_SEARCH_SECRET_ARN       = aws_secretsmanager_secret.web_search.arn
      WEBSOCKET_CALLBACK_URL      = local.websocket_callback_url
      WEBSOCKET_ALLOWED_ORIGINS   = join(",", var.websocket_allowed_origins)
      ORIGIN_DIGEST               = local.origin_digest
    },
    local.is_local ? { AWS_ENDPOINT_URL_BEDROCK_RUNTIME = var.bedrock_endpoint } : {},
  )

  # `migrate` starts as the cluster's master and makes the other logins. Functions without the
  # database name the application's login too: the role, not the variable, gives access.
  database_secret_arns = merge(
    { for login, secret in aws_secretsmanager_secret.database : login => secret.arn },
    { migrator = module.database.master_secret_arn },
  )

  function_environments = {
    for key, function in var.functions : key => merge(
      local.environment,
      {
        DATABASE_SECRET_ARN     = local.database_secret_arns[lookup(function.access, "database", "app")]
        POWERTOOLS_SERVICE_NAME = key
      },
      function.environment,
    )
  }
}

resource "aws_s3_object" "layer" {
  for_each = local.layers

  bucket      = module.artifact_bucket.name
  key         = "layers/${each.key}.zip"
  source      = "${local.build_directory}/layers/${each.key}.zip"
  source_hash = filemd5("${local.build_directory}/layers/${each.key}.zip")
}

resource "aws_lambda_layer_version" "this" {
  for_each = local.layers

  layer_name               = "${local.name}-${each.key}"
  description              = { dependencies = "Third-party packages", shared = "Our own code that several functions need" }[each.key]
  s3_bucket                = aws_s3_object.layer[each.key].bucket
  s3_key                   = aws_s3_object.layer[each.key].key
  s3_object_version        = aws_s3_object.layer[each.key].version_id
  source_code_hash         = filebase64sha256("${local.build_directory}/layers/${each.key}.zip")
  compatible_runtimes      = [local.runtime]
  compatible_architectures = [var.lambda_architecture]
}

module "function" {
  source   = "./modules/function"
  for_each = var.functions

  name            = local.function_names[each.key]
  description     = each.value.description
  handler         = "functions.${each.key}.handler.handler"
  runtime         = local.runtime
  architecture    = var.lambda_architecture
  memory          = each.value.memory
  timeout         = try(local.tools[each.key].timeout_seconds, each.value.timeout)
  concurrency     = each.value.concurrency
  snap_start      = each.value.snap_start && var.snap_start
  environment     = local.function_environments[each.key]
  statements      = local.function_statements[each.key]
  layers          = [for layer in ["dependencies", "shared"] : aws_lambda_layer_version.this[layer].arn]
  archive         = "${local.build_directory}/functions/${each.key}.zip"
  artifact_bucket = module.artifact_bucket.name
  artifact_key    = "functions/${each.key}.zip"

  permissions_boundary_arn = var.permissions_boundary_arn
  dead_letter_queue_arn    = aws_sqs_queue.dead_letter.arn
  kms_key_arn              = module.key["data"].arn
  log_kms_key_arn          = module.key["logs"].arn
  log_retention_days       = var.log_retention_days
}
