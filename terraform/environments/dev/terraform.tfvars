environment = "dev"
debug       = true

bedrock_model_id = "us.anthropic.claude-sonnet-4-20250514-v1:0"
bedrock_model_ids = [
  "us.anthropic.claude-sonnet-4-20250514-v1:0",
  "us.anthropic.claude-3-5-haiku-20241022-v1:0",
]

registration_enabled        = true
email_verification_required = true

mail_sender = "no-reply@dev.example.com"
client_url  = "https://chat.dev.example.com"
alarm_email = "operations@example.com"

deletion_protection     = false
log_retention_days      = 14
monthly_budget          = 100
noncurrent_version_days = 14

# Sleeps when nobody works: the first request after that waits for it, about 15 seconds.
database = {
  min_capacity             = 0
  max_capacity             = 2
  seconds_until_auto_pause = 600
  backup_retention_days    = 1
}
