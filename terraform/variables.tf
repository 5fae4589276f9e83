variable "environment" {
  description = "Environment that everything is named after: `chatbot-<environment>-...`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.environment))
    error_message = "An environment is 2 to 10 lower-case letters and digits, starting with a letter."
  }
}

variable "aws_region" {
  description = "Region that everything is made in."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "A region looks like us-east-1."
  }
}

variable "release" {
  description = "Version of the product that `/health` tells, such as a tag or a commit."
  type        = string
  default     = "0.1.0"
}

variable "debug" {
  description = "Whether functions log at debug level. Never prompts, messages or tokens."
  type        = bool
  default     = false
}

# --- Build ---------------------------------------------------------------------------------------

variable "build_directory" {
  description = "Folder that `python -m layers.build` wrote, one subfolder an architecture."
  type        = string
  default     = "../.build"
}

variable "lambda_architecture" {
  description = "Architecture of the functions: `arm64` on AWS, the host's on the local stack."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.lambda_architecture)
    error_message = "The architecture is arm64 or x86_64."
  }
}

# --- Account -------------------------------------------------------------------------------------

variable "permissions_boundary_arn" {
  description = "Policy that bounds what any role made here may ever be given, where the account asks for one. Null: none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/", var.permissions_boundary_arn))
    error_message = "A boundary is the ARN of a policy."
  }
}

variable "tags" {
  description = "Tags of everything beside `application` and `environment`, such as a cost centre."
  type        = map(string)
  default     = {}
}

variable "monthly_budget" {
  description = "US dollars a month that the environment may cost; `alarm_email` hears at 80 %, and when the forecast passes all of it. Null: no budget."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget == null || (coalesce(var.monthly_budget, 0) > 0 && var.alarm_email != null)
    error_message = "A budget is above zero, and somebody hears of it: set alarm_email."
  }
}

# --- The local stack -----------------------------------------------------------------------------

variable "gateway_endpoint" {
  description = "Address of the local stack that stands in for AWS, without a trailing slash. Null on AWS."
  type        = string
  default     = null

  validation {
    condition     = var.gateway_endpoint == null || can(regex("^http://[^/]+$", var.gateway_endpoint))
    error_message = "The gateway is http://host:port without a trailing slash, or null."
  }
}

variable "bedrock_endpoint" {
  description = "Address of the stand-in for the Bedrock runtime. Null on AWS."
  type        = string
  default     = null

  validation {
    condition     = (var.bedrock_endpoint == null) == (var.gateway_endpoint == null)
    error_message = "The local stack needs both endpoints, AWS neither."
  }
}

# --- Clients -------------------------------------------------------------------------------------

variable "cors_allowed_origins" {
  description = "Origins whose pages may call the REST API, such as `https://chat.example.com`."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.cors_allowed_origins : can(regex("^(\\*|https?://[^/]+)$", origin))])
    error_message = "An origin is scheme and host without a path, or `*`."
  }
}

variable "websocket_allowed_origins" {
  description = "Origins whose pages may open the WebSocket. Empty: any. Clients that send no Origin always may."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.websocket_allowed_origins : can(regex("^https?://[^/,]+$", origin))])
    error_message = "An origin is scheme and host without a path."
  }
}

variable "snap_start" {
  description = <<-EOT
    Whether the functions that somebody waits for at every turn (`snap_start` in functions.tf) start
    from snapshots. A snapshot costs by the GiB and hour from the publishing of its version until
    the version is deleted, whether it is called or not: old versions should go when no release goes
    back to them.
  EOT
  type        = bool
  default     = false
}

variable "throttle" {
  description = "Requests a second and burst that either API takes before API Gateway itself answers 429."
  type = object({
    rate_limit  = number
    burst_limit = number
  })
  default = { rate_limit = 1000, burst_limit = 2000 }

  validation {
    condition     = var.throttle.rate_limit > 0 && var.throttle.burst_limit >= var.throttle.rate_limit
    error_message = "The burst is at least the rate, and the rate above zero."
  }
}

variable "edge" {
  description = <<-EOT
    CloudFront with a WAF before the REST API, which is then reached by no other way. Null: none.
    `domain_name` is the API's name, a CNAME of the output `edge_domain_name`; `certificate_arn` its
    certificate, in us-east-1; `requests_per_minute` what one address may send.
  EOT
  type = object({
    domain_name         = string
    certificate_arn     = string
    requests_per_minute = optional(number, 3000)
  })
  default = null

  validation {
    condition     = var.edge == null || can(regex("^arn:[a-z-]+:acm:us-east-1:[0-9]{12}:certificate/", var.edge.certificate_arn))
    error_message = "CloudFront takes its certificate from us-east-1."
  }

  validation {
    condition     = var.edge == null || try(var.edge.requests_per_minute >= 10, false)
    error_message = "The WAF counts limits of at least 10 requests."
  }
}

# --- Mail ----------------------------------------------------------------------------------------

variable "mail_sender" {
  description = "Address that mails come from. SES has to know its domain: see the output `mail_dkim_tokens`."
  type        = string

  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.mail_sender))
    error_message = "The sender is an address such as no-reply@example.com."
  }
}

variable "client_url" {
  description = "Address of the front end, without a trailing slash. Links in mails lead to its pages `verify-email`, `log-in`, `reset-password` and `invitation`, with `?token=`."
  type        = string

  validation {
    condition     = can(regex("^https?://\\S+[^/\\s]$", var.client_url))
    error_message = "The front end is http(s)://host without a trailing slash."
  }
}

# --- Settings of the functions -------------------------------------------------------------------

variable "bedrock_model_id" {
  description = "Model of a chatbot that names none: a foundation model or a cross-region inference profile."
  type        = string
}

variable "bedrock_model_ids" {
  description = "Models that chatbots may use."
  type        = list(string)

  validation {
    condition     = contains(var.bedrock_model_ids, var.bedrock_model_id)
    error_message = "The default model is one of the allowed models."
  }

  validation {
    condition     = length(setsubtract([for id in var.bedrock_model_ids : can(regex(local.cross_region, id)) ? regex("^[^.]+\\.(.+)$", id)[0] : id], local.known_models)) == 0
    error_message = "layers/shared/python/chatbot/models.json has the price and the limits of every allowed model."
  }
}

variable "bedrock_inference_profiles" {
  description = "Application inference profiles that models are called through, such as to tell the costs of environments apart: ARN by the id in `bedrock_model_ids`."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.bedrock_inference_profiles), var.bedrock_model_ids)) == 0
    error_message = "A profile is for an allowed model."
  }

  validation {
    condition     = alltrue([for profile in values(var.bedrock_inference_profiles) : can(regex("^arn:aws[a-z-]*:bedrock:[a-z0-9-]+:[0-9]{12}:application-inference-profile/[a-z0-9]+$", profile))])
    error_message = "A profile is the ARN of an application inference profile. Those of Bedrock's own are ids of models here."
  }
}

variable "guardrail" {
  description = <<-EOT
    What chatbots with a guardrail neither take nor say, and what is said instead:
    - `content_filters`: strengths (NONE, LOW, MEDIUM, HIGH) for what users and models say
    - `denied_topics`: by name, a definition and some examples
    - `blocked_words`: words and phrases, beside Bedrock's list of profanity
    - `blocked_entities`: kinds of personal data and secrets, by Bedrock's names of them
  EOT
  type = object({
    blocked_input_message  = optional(string, "I cannot help with that request.")
    blocked_output_message = optional(string, "I cannot give that answer.")
    content_filters = optional(map(object({ input = string, output = string })), {
      HATE          = { input = "HIGH", output = "HIGH" }
      INSULTS       = { input = "MEDIUM", output = "HIGH" }
      MISCONDUCT    = { input = "MEDIUM", output = "HIGH" }
      PROMPT_ATTACK = { input = "HIGH", output = "NONE" } # models do not attack, Bedrock says
      SEXUAL        = { input = "HIGH", output = "HIGH" }
      VIOLENCE      = { input = "MEDIUM", output = "HIGH" }
    })
    denied_topics    = optional(map(object({ definition = string, examples = optional(list(string), []) })), {})
    blocked_words    = optional(list(string), [])
    blocked_entities = optional(list(string), ["AWS_ACCESS_KEY", "AWS_SECRET_KEY", "CREDIT_DEBIT_CARD_CVV", "CREDIT_DEBIT_CARD_NUMBER", "PASSWORD", "PIN"])
  })
  default = {}

  validation {
    condition = alltrue(flatten([
      for filter in values(var.guardrail.content_filters) : [
        for strength in [filter.input, filter.output] : contains(["NONE", "LOW", "MEDIUM", "HIGH"], strength)
      ]
    ]))
    error_message = "A filter's strength is NONE, LOW, MEDIUM or HIGH."
  }
}

variable "registration_enabled" {
  description = "Whether anybody may register."
  type        = bool
  default     = false
}

variable "email_verification_required" {
  description = "Whether an address has to be verified before its user may log in."
  type        = bool
  default     = true
}

variable "access_token_seconds" {
  description = "Life of an access token, in seconds."
  type        = number
  default     = 900

  validation {
    condition     = var.access_token_seconds >= 60 && var.access_token_seconds <= 3600
    error_message = "An access token lives from a minute to an hour."
  }
}

variable "refresh_token_seconds" {
  description = "Life of an unused refresh token, in seconds."
  type        = number
  default     = 1209600

  validation {
    condition     = var.refresh_token_seconds > var.access_token_seconds
    error_message = "A refresh token outlives an access token."
  }
}

variable "refresh_family_seconds" {
  description = "Absolute end of a session, however often it is refreshed, in seconds."
  type        = number
  default     = 7776000

  validation {
    condition     = var.refresh_family_seconds >= var.refresh_token_seconds
    error_message = "A family of refresh tokens lives at least as long as one of them."
  }
}

variable "address_requests_per_minute" {
  description = "Requests a minute of one client address that is not signed in."
  type        = number
  default     = 60
}

variable "user_requests_per_minute" {
  description = "Requests a minute of one user."
  type        = number
  default     = 3000
}

variable "sign_in_attempts_per_minute" {
  description = "Attempts a minute to sign in to one account."
  type        = number
  default     = 10
}

variable "chats_per_minute" {
  description = "Chat messages a minute of one user."
  type        = number
  default     = 240
}

variable "max_concurrent_turns" {
  description = "Answers of one workspace that may be under way at once, where its quota says nothing."
  type        = number
  default     = 100
}

variable "approval_timeout_seconds" {
  description = "Seconds that a user has to approve the call of a tool; then it is not made."
  type        = number
  default     = 900

  validation {
    condition     = var.approval_timeout_seconds >= 5 && var.approval_timeout_seconds <= 3600
    error_message = "A user has 5 seconds to an hour."
  }
}

variable "monthly_tokens" {
  description = "Tokens a month of one workspace, where its quota says nothing."
  type        = number
  default     = 50000000
}

variable "conversation_retention_days" {
  description = "Days after its last message that a conversation is deleted. 0 keeps all."
  type        = number
  default     = 0

  validation {
    condition     = var.conversation_retention_days >= 0 && var.conversation_retention_days == floor(var.conversation_retention_days)
    error_message = "Retention is a whole number of days, or 0."
  }
}

variable "allowed_private_networks" {
  description = "Private networks in which sources may lie, such as a self-managed GitLab's. Empty: none."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for network in var.allowed_private_networks : can(cidrhost(network, 0))])
    error_message = "A network is a range such as 10.1.0.0/16."
  }
}

variable "sweep_max_percent" {
  description = "Share of a source's documents that a sweep may delete without an operator's word, in percent."
  type        = number
  default     = 50

  validation {
    condition     = var.sweep_max_percent >= 1 && var.sweep_max_percent <= 100
    error_message = "A share is 1 to 100 percent."
  }
}

variable "sweep_interval_seconds" {
  description = "Seconds after which a run by schedule lists all of a source again, and sweeps what is gone."
  type        = number
  default     = 86400

  validation {
    condition     = var.sweep_interval_seconds >= 1
    error_message = "The interval is at least a second."
  }
}

# --- Web search ----------------------------------------------------------------------------------

variable "web_search_provider" {
  description = "Provider that the tool `web_search` asks. Null: the tool says that it is not configured."
  type        = string
  default     = null

  validation {
    condition     = var.web_search_provider == null || var.web_search_provider == "brave"
    error_message = "The provider is brave, or null."
  }
}

variable "web_search_url" {
  description = "Root of the provider's API. Null: the provider's own."
  type        = string
  default     = null

  validation {
    condition     = var.web_search_url == null || can(regex("^https?://[^\\s?#]+[^/\\s?#]$", var.web_search_url))
    error_message = "The root is http(s)://host/path without a trailing slash, or null."
  }
}

variable "web_search_key" {
  description = "The provider's key, best given as TF_VAR_web_search_key. It is in no plan and no state."
  type        = string
  default     = null
  sensitive   = true
  ephemeral   = true
}

variable "web_search_key_version" {
  description = "A higher number writes `web_search_key` anew; without one Terraform does not see that it changed."
  type        = number
  default     = 1
}

# --- Data ----------------------------------------------------------------------------------------

variable "deletion_protection" {
  description = "Whether data outlives a destroy: protected tables and cluster, final snapshot, secrets kept for a month."
  type        = bool
  default     = true
}

variable "rotation_days" {
  description = "Days after which signing keys and the passwords of the database's logins are renewed."
  type        = number
  default     = 30

  validation {
    condition     = var.rotation_days >= 1 && var.rotation_days <= 90
    error_message = "A secret is renewed after 1 to 90 days."
  }
}

variable "noncurrent_version_days" {
  description = "Days until a replaced version of a stored object expires. Null keeps all versions."
  type        = number
  default     = 90
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([7, 14, 30, 90, 180, 365, 400, 731], var.log_retention_days)
    error_message = "CloudWatch Logs keeps logs for 7, 14, 30, 90, 180, 365, 400 or 731 days."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the network that holds only the cluster."
  type        = string
  default     = "10.20.0.0/24"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "The network's addresses are an IPv4 range such as 10.20.0.0/24."
  }
}

variable "availability_zones" {
  description = "Zones that the cluster may be in: by name, since what a region offers changes."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b", "us-east-1c"]

  validation {
    condition     = alltrue([for zone in var.availability_zones : startswith(zone, var.aws_region)])
    error_message = "The zones are in the region."
  }
}

variable "database" {
  description = <<-EOT
    The Aurora cluster. Of its version say the major part: RDS brings minor ones by itself.
    Capacities are in Aurora capacity units (2 GiB each); a minimum of 0 lets an idle cluster sleep
    after `seconds_until_auto_pause`. `instances` names its instances: the first is the writer.
  EOT
  type = object({
    engine_version           = optional(string, "16")
    min_capacity             = number
    max_capacity             = number
    seconds_until_auto_pause = optional(number)
    instances                = optional(set(string), ["a"])
    backup_retention_days    = optional(number, 7)
  })

  validation {
    condition     = can(regex("^16(\\.[0-9]+)?$", var.database.engine_version))
    error_message = "The migrations are written for PostgreSQL 16."
  }

  validation {
    condition     = var.database.max_capacity >= max(1, var.database.min_capacity)
    error_message = "The maximum capacity is at least 1 and the minimum."
  }

  validation {
    condition     = (var.database.seconds_until_auto_pause != null) == (var.database.min_capacity == 0)
    error_message = "A cluster that may go down to no capacity says after how many seconds; no other does."
  }
}

variable "restore" {
  description = <<-EOT
    The restore that cluster and tables come from. AWS restores into new ones: they are the
    environment's `generation`-th, named so, and made of the generation before as it was at `time`
    (UTC). Without a time they are imported, such as from a copy of AWS Backup. Stays as it is until
    the next restore: without it Terraform would go back to the generation before.
  EOT
  type = object({
    generation = number
    time       = optional(string)
  })
  default = null

  validation {
    condition     = var.restore == null || try(var.restore.generation >= 2 && floor(var.restore.generation) == var.restore.generation, false)
    error_message = "The first generation was not restored, the next is 2."
  }

  validation {
    condition     = try(var.restore.time, null) == null || can(regex("^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$", var.restore.time))
    error_message = "The time is in UTC, such as 2026-03-29T08:30:00Z."
  }
}

variable "backup_retention_days" {
  description = "Days that AWS Backup keeps copies of cluster and tables, by how often they are made: `daily`, `monthly`. Null: no copies beside what RDS and DynamoDB keep."
  type        = map(number)
  default     = null
}

variable "opensearch" {
  description = "Whether a collection of OpenSearch Serverless holds the chunks as well, and is searched in PostgreSQL's place. Its units cost by the hour, asked or not."
  type        = bool
  default     = false
}

variable "database_wait_seconds" {
  description = "Seconds that a request waits for a sleeping cluster before it answers 503."
  type        = number
  default     = 25

  validation {
    condition     = var.database_wait_seconds >= 1 && var.database_wait_seconds <= 27
    error_message = "API Gateway gives up after 29 seconds."
  }
}

variable "alarm_email" {
  description = "Address that alarms go to. Null: none."
  type        = string
  default     = null
}
