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
  #checkov:skip=CKV2_AWS_57: the provider has no way to renew a key; its owner gives a new one by web_search_key_version
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

resource "aws_secretsmanager_secret" "database" {
  for_each = local.database_logins

  name                    = "${local.name}-database-${each.key}"
  description             = "Database login that ${each.value}"
  kms_key_id              = module.key["secrets"].arn
  recovery_window_in_days = local.secret_recovery_days
}

# As above: the first password, which `migrate` gives the login. A higher number locks the login out
# until `migrate` has run again.
resource "aws_secretsmanager_secret_version" "database" {
  for_each = local.database_logins

  secret_id = aws_secretsmanager_secret.database[each.key].id
  secret_string_wo = jsonencode({
    username = "chatbot_${each.key}"
    password = sha512("${uuid()}${uuid()}")
  })
  secret_string_wo_version = 1
}

# --- Rotation. RDS itself renews the master's password, every seven days.

# Not at once: the first values are as good as renewed ones, and `migrate` has not used them yet.

resource "aws_secretsmanager_secret_rotation" "signing" {
  secret_id           = aws_secretsmanager_secret.signing.id
  rotation_lambda_arn = module.function["rotate_signing_key"].alias_arn
  rotate_immediately  = false

  rotation_rules {
    automatically_after_days = var.rotation_days
  }

  depends_on = [aws_lambda_permission.rotation, aws_secretsmanager_secret_version.signing]
}

resource "aws_secretsmanager_secret_rotation" "database" {
  for_each = local.database_logins

  secret_id           = aws_secretsmanager_secret.database[each.key].id
  rotation_lambda_arn = module.function["migrate"].alias_arn
  rotate_immediately  = false

  rotation_rules {
    automatically_after_days = var.rotation_days
  }

  depends_on = [aws_lambda_permission.rotation, aws_secretsmanager_secret_version.database]
}

resource "aws_lambda_permission" "rotation" {
  for_each = toset(["migrate", "rotate_signing_key"])

  statement_id   = "secret-rotation"
  action         = "lambda:InvokeFunction"
  function_name  = module.function[each.key].name
  qualifier      = module.function[each.key].alias_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = local.account_id
}
