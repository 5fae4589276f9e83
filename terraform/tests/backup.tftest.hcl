# Copies alone: what is copied, how long, and that it cannot be shortened.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name           = "test"
  retention_days = { daily = 35, monthly = 365 }
  resource_arns  = ["arn:aws:rds:us-east-1:123456789012:cluster:test"]
  kms_key_arn    = "arn:aws:kms:us-east-1:123456789012:key/data"
}

run "copies_are_made_encrypted_and_kept" {
  command = apply

  module {
    source = "./modules/backup"
  }

  assert {
    condition     = { for rule in aws_backup_plan.this.rule : rule.rule_name => rule.lifecycle[0].delete_after } == { daily = 35, monthly = 365 }
    error_message = "A copy a day and one a month, each kept as long as was said."
  }

  assert {
    condition     = aws_backup_vault_lock_configuration.this.min_retention_days == 35
    error_message = "Nobody removes a copy earlier."
  }

  assert {
    condition     = aws_backup_vault.this.kms_key_arn == var.kms_key_arn && toset(aws_backup_selection.this.resources) == toset(var.resource_arns)
    error_message = "What was named is copied, with our key."
  }
}

run "copies_at_other_times_are_refused" {
  command = plan

  module {
    source = "./modules/backup"
  }

  variables {
    retention_days = { hourly = 1 }
  }

  expect_failures = [var.retention_days]
}
