output "cluster_arn" {
  description = "ARN of the cluster."
  value       = aws_rds_cluster.this.arn
}

output "master_secret_arn" {
  description = "ARN of the secret in which RDS keeps the master's name and password."
  value       = aws_rds_cluster.this.master_user_secret[0].secret_arn
}
