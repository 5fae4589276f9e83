# CloudFront with a WAF before the REST API: an option. A WAF cannot stand before an HTTP API itself.
# The authorizer, which is asked about every request, refuses those that did not come this way.

# What CloudFront tells the API. It opens nothing: who has it can go past the WAF, no more. Renewed by
# `terraform apply -replace='terraform_data.origin_secret["this"]'`.
resource "terraform_data" "origin_secret" {
  for_each = local.edge

  input = sha256("${uuid()}${uuid()}")

  lifecycle {
    ignore_changes = [input]
  }
}

module "edge_log_key" {
  source    = "./modules/key"
  for_each  = local.edge
  providers = { aws = aws.us_east_1 }

  name        = "${local.name}-edge-logs"
  description = "Logs of the WAF"
  account_arn = "arn:${local.partition}:iam::${local.account_id}:root"
  services = {
    "logs.us-east-1.amazonaws.com" = {
      actions = local.keys.logs.services["logs.${var.aws_region}.amazonaws.com"].actions
      condition = {
        ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:us-east-1:${local.account_id}:log-group:*" }
      }
    }
  }
  deletion_window_days = var.deletion_protection ? 30 : 7
}

module "edge" {
  source    = "./modules/edge"
  for_each  = local.edge
  providers = { aws = aws.us_east_1 }

  name                = "${local.name}-edge"
  domain_name         = each.value.domain_name
  certificate_arn     = each.value.certificate_arn
  requests_per_minute = each.value.requests_per_minute
  origin_domain_name  = replace(module.http_api.endpoint, "https://", "")
  origin_secret       = sensitive(terraform_data.origin_secret[each.key].output)
  log_kms_key_arn     = module.edge_log_key[each.key].arn
  log_retention_days  = var.log_retention_days
}

locals {
  edge = var.edge == null ? {} : { this = var.edge }

  # Every function may know it: from a digest nobody gets to the header.
  origin_digest = join("", [for secret in values(terraform_data.origin_secret) : sha256(secret.output)])
}
