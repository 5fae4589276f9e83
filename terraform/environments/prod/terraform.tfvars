environment = "prod"

bedrock_model_id = "us.anthropic.claude-sonnet-4-20250514-v1:0"
bedrock_model_ids = [
  "us.anthropic.claude-sonnet-4-20250514-v1:0",
  "us.anthropic.claude-3-5-haiku-20241022-v1:0",
]

registration_enabled        = false
email_verification_required = true

mail_sender = "no-reply@example.com"
client_url  = "https://chat.example.com"
alarm_email = "operations@example.com"

throttle = { rate_limit = 5000, burst_limit = 5000 }

# What a turn waits for starts from snapshots.
snap_start = true

# CloudFront with a WAF before the REST API:
# edge = { domain_name = "api.example.com", certificate_arn = "arn:aws:acm:us-east-1:…" }

log_retention_days = 365
monthly_budget     = 5000

# A second instance in another zone takes over in seconds where the first is lost.
database = {
  min_capacity          = 1
  max_capacity          = 16
  instances             = ["a", "b"]
  backup_retention_days = 35
}

backup_retention_days = { daily = 35, monthly = 365 }
