output "name" {
  description = "Name of the bucket, once it keeps versions and encrypts with its key."
  value       = aws_s3_bucket.this.id

  # An object put earlier would have neither version nor key.
  depends_on = [
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
  ]
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}
