output "name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "alias_arn" {
  description = "ARN to call the function by."
  value       = aws_lambda_alias.live.arn
}

output "alias_name" {
  description = "Alias to give permissions on."
  value       = aws_lambda_alias.live.name
}

output "alias_invoke_arn" {
  description = "URI by which API Gateway calls the function."
  value       = aws_lambda_alias.live.invoke_arn
}

output "role_arn" {
  description = "ARN of the function's own role."
  value       = aws_iam_role.this.arn
}

output "log_group_name" {
  description = "Log group of the function."
  value       = aws_cloudwatch_log_group.this.name
}

output "snap_start" {
  description = "Whether new environments start from a snapshot."
  value       = length(aws_lambda_function.this.snap_start) > 0
}

output "policy" {
  description = "The role's policy document, in JSON."
  value       = local.policy
}
