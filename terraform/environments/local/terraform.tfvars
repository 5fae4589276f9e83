# The same root on one machine. The stack adds what differs from one machine and stack to the next:
# gateway_endpoint, bedrock_endpoint, web_search_url, opensearch, lambda_architecture and
# build_directory.
environment = "local"
debug       = true

bedrock_model_id = "us.anthropic.claude-sonnet-4-20250514-v1:0"
bedrock_model_ids = [
  "us.anthropic.claude-sonnet-4-20250514-v1:0",
  "us.anthropic.claude-3-5-haiku-20241022-v1:0",
]

registration_enabled        = true
email_verification_required = false

mail_sender = "no-reply@example.com"
client_url  = "http://localhost:3000"

# Wide, because test suites sign in thousands of times from one address. Limits by account are as
# in production.
address_requests_per_minute = 100000

cors_allowed_origins = ["*"]

# The stand-in of Brave Search; where it is, the stack adds.
web_search_provider = "brave"
web_search_key      = "brave-local"

# The stand-ins of Slack, GitLab, Backlog and Brave Search.
allowed_private_networks = ["127.0.0.0/8"]

# So that a deletion at a stand-in shows while somebody looks.
sweep_interval_seconds = 60

# So that an approval that never comes is seen to end.
approval_timeout_seconds = 30

deletion_protection = false
log_retention_days  = 7

# The provider waits 55 seconds for a lifecycle rule, which nothing here would run.
noncurrent_version_days = null

# The stand-in needs no instance, and the provider waits 30 seconds for each.
database = {
  min_capacity = 0.5
  max_capacity = 1
  instances    = []
}
