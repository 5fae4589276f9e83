# A key alone: it is renewed, and nobody outside the account may use it but the services it names.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                 = "test"
  description          = "Tests"
  account_arn          = "arn:aws:iam::123456789012:root"
  deletion_window_days = 30
  services = {
    "logs.us-east-1.amazonaws.com" = {
      actions   = ["kms:Decrypt", "kms:Encrypt"]
      condition = { StringEquals = { "aws:SourceAccount" = "123456789012" } }
    }
  }
}

run "key_is_renewed_and_belongs_to_the_account" {
  command = apply

  module {
    source = "./modules/key"
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "A key is renewed each year, and can be had back for a month."
  }

  assert {
    condition = [for statement in jsondecode(aws_kms_key.this.policy).Statement : jsonencode(statement.Principal)] == [
      jsonencode({ AWS = "arn:aws:iam::123456789012:root" }),
      jsonencode({ Service = "logs.us-east-1.amazonaws.com" }),
    ]
    error_message = "The account and the services that are named use the key, nobody else."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_kms_key.this.policy).Statement :
      can(statement.Principal.AWS) ? true : try(statement.Condition.StringEquals["aws:SourceAccount"] == "123456789012", false)
    ])
    error_message = "A service uses the key on a condition."
  }

  assert {
    condition     = !strcontains(join(",", flatten(jsondecode(aws_kms_key.this.policy).Statement[*].Action)), "*")
    error_message = "Actions are named one by one."
  }

  assert {
    condition     = aws_kms_alias.this.name == "alias/test"
    error_message = "The key is found by its name."
  }
}
