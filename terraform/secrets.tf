resource "aws_secretsmanager_secret" "signing" {
  name                    = "${local.name}-signing"
  description             = "Keys that sign access tokens: {\"current\": id, \"keys\": {id: key}}"
  kms_key_id              = module.key["secrets"].arn
  recovery_window_in_days = local.secret_recovery_days
}

# Terraform makes the first key and never sees it again: what is write-only is in no plan and no
# state. The rotation replaces it. Two UUIDs are 244 random bits; the ephemeral resource that makes
# passwords would do as well, but Terraform's mocks know none, and the whole root could not be tested.
resource "aws_secretsmanager_secret_version" "signing" {
  secret_id = aws_secretsmanager_secret.signing.id
  secret_string_wo = jsonencode({
    current = "1"
    keys    = { "1" = sha512("${uuid()}${uuid()}") }
  })
  # A higher number writes a new secret and so ends every session: the rotation is for that.
  secret_string_wo_version = 1
}

resource "aws_secretsmanager_secret" "web_search" {
  name                    = "${local.name}-web-search"
  description             = "Key of the search provider: {\"api_key\": key or null}"
  kms_key_id              = module.key["secrets"].arn
  recovery_window_in_days = local.secret_recovery_days
}

resource "aws_secretsmanager_secret_version" "web_search" {
  secret_id                = aws_secretsmanager_secret.web_search.id
  secret_string_wo         = jsonencode({ api_key = var.web_search_key })
  secret_string_wo_version = var.web_search_key_version
}

locals {
  secret_recovery_days = var.deletion_protection ? 30 : 0

  database_logins = {
    migrator = "owns the tables"
    app      = "of the requests: goes through app.* functions"
    worker   = "of the pipelines: goes through app.system, one tenant at a time"
  }
}

# Empty until `migrate` has made the logins and written their passwords.
resource "aws_secretsmanager_secret" "database" {
  for_each = local.database_logins

  name                    = "${local.name}-database-${each.key}"
  description             = "Database login that ${each.value}"
  kms_key_id              = module.key["secrets"].arn
  recovery_window_in_days = local.secret_recovery_days
}
