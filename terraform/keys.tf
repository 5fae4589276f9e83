locals {
  keys = {
    data = {
      description = "Tables, objects, database, executions and environments of functions"
      services = {
        # Writes the log of executions that are encrypted with this key.
        "delivery.logs.amazonaws.com" = {
          actions = ["kms:Decrypt"]
          condition = {
            ArnLike      = { "aws:SourceArn" = "${local.arn_prefixes.logs}:*" }
            StringEquals = { "aws:SourceAccount" = local.account_id }
          }
        }
      }
    }
    secrets = {
      description = "Secrets"
      services    = {}
    }
    logs = {
      description = "Logs and alarms"
      services = {
        "logs.${var.aws_region}.amazonaws.com" = {
          actions = [
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
          ]
          condition = {
            ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "${local.arn_prefixes.logs}:log-group:*" }
          }
        }
        "cloudwatch.amazonaws.com" = {
          actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
          condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
        }
      }
    }
  }
}

module "key" {
  source   = "./modules/key"
  for_each = local.keys

  name                 = "${local.name}-${each.key}"
  description          = each.value.description
  account_arn          = "arn:${local.partition}:iam::${local.account_id}:root"
  services             = each.value.services
  deletion_window_days = var.deletion_protection ? 30 : 7
}
