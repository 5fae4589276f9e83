# Copies in a vault of their own, beside what RDS and DynamoDB keep themselves: a deleted cluster or
# table takes those along, and a vault's copies outlive it.

resource "aws_backup_vault" "this" {
  name        = var.name
  kms_key_arn = var.kms_key_arn
}

# Nobody shortens what is kept, by mistake or not.
resource "aws_backup_vault_lock_configuration" "this" {
  backup_vault_name  = aws_backup_vault.this.name
  min_retention_days = min(values(var.retention_days)...)
}

resource "aws_backup_plan" "this" {
  name = var.name

  dynamic "rule" {
    for_each = var.retention_days

    content {
      rule_name         = rule.key
      target_vault_name = aws_backup_vault.this.name
      schedule          = { daily = "cron(0 2 * * ? *)", monthly = "cron(0 4 1 * ? *)" }[rule.key]

      lifecycle {
        delete_after = rule.value
      }
    }
  }
}

resource "aws_backup_selection" "this" {
  name         = var.name
  plan_id      = aws_backup_plan.this.id
  iam_role_arn = aws_iam_role.this.arn
  resources    = var.resource_arns
}

resource "aws_iam_role" "this" {
  name                 = var.name
  description          = "Lets AWS Backup copy what the plan ${var.name} names"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "backup.amazonaws.com" }
    }]
  })
}

# AWS's own, kept by AWS as its backups change.
resource "aws_iam_role_policy_attachment" "this" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup"
}
