# A bucket alone: private, versioned, encrypted, over TLS only.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                    = "test"
  kms_key_arn             = "arn:aws:kms:us-east-1:123456789012:key/data"
  noncurrent_version_days = 30
  force_destroy           = false
}

run "bucket_is_private_versioned_and_encrypted" {
  command = apply

  module {
    source = "./modules/bucket"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "Nothing in the bucket is public."
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "What is written over can be had back."
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == var.kms_key_arn
    error_message = "Objects are encrypted with the key."
  }

  assert {
    condition = [
      for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement :
      [statement.Effect, statement.Condition.Bool["aws:SecureTransport"]]
    ] == [["Deny", "false"]]
    error_message = "Whoever comes without TLS is refused, and nobody is let in by the policy."
  }

  assert {
    condition     = !aws_s3_bucket.this.force_destroy
    error_message = "A full bucket is not destroyed."
  }
}
