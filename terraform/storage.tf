# What was built: archives of functions and layers.
module "artifact_bucket" {
  source = "./modules/bucket"

  name                    = "${local.name}-artifacts-${local.account_id}-${var.aws_region}"
  kms_key_arn             = module.key["data"].arn
  access_log              = { bucket = module.access_log_bucket.name, prefix = "artifacts/" }
  noncurrent_version_days = var.noncurrent_version_days
  force_destroy           = !var.deletion_protection
}

# Texts of documents, and their embeddings: the search index can be rebuilt without paying for them.
module "document_bucket" {
  source = "./modules/bucket"

  name                    = "${local.name}-documents-${local.account_id}-${var.aws_region}"
  kms_key_arn             = module.key["data"].arn
  access_log              = { bucket = module.access_log_bucket.name, prefix = "documents/" }
  noncurrent_version_days = var.noncurrent_version_days
  force_destroy           = !var.deletion_protection
}

# Who asked for which object.
module "access_log_bucket" {
  source = "./modules/bucket"

  name                    = "${local.name}-access-logs-${local.account_id}-${var.aws_region}"
  kms_key_arn             = null # S3 delivers access logs into buckets with its own key only
  access_log_writer       = { account_id = local.account_id, source_arns = [for kind in ["artifacts", "documents"] : "arn:${local.partition}:s3:::${local.name}-${kind}-${local.account_id}-${var.aws_region}"] }
  noncurrent_version_days = var.noncurrent_version_days
  expiration_days         = var.noncurrent_version_days == null ? null : var.log_retention_days
  force_destroy           = !var.deletion_protection
}
