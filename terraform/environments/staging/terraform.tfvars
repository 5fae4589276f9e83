environment = "staging"

bedrock_model_id = "us.anthropic.claude-sonnet-4-20250514-v1:0"
bedrock_model_ids = [
  "us.anthropic.claude-sonnet-4-20250514-v1:0",
  "us.anthropic.claude-3-5-haiku-20241022-v1:0",
]

registration_enabled        = false
email_verification_required = true

mail_sender = "no-reply@staging.example.com"
client_url  = "https://chat.staging.example.com"
alarm_email = "operations@example.com"

# What a turn waits for starts from snapshots.
snap_start = true

log_retention_days = 90
monthly_budget     = 500

database = {
  min_capacity          = 0.5
  max_capacity          = 4
  backup_retention_days = 7
}

# As in production, so that a restore can be tried.
backup_retention_days = { daily = 7 }
