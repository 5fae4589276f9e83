output "arn" {
  description = "ARN of the machine."
  value       = aws_sfn_state_machine.this.arn
}

output "name" {
  description = "Name of the machine."
  value       = aws_sfn_state_machine.this.name
}

output "policy" {
  description = "The role's policy document, in JSON."
  value       = local.policy
}

output "log_group_name" {
  description = "Log group of executions."
  value       = aws_cloudwatch_log_group.this.name
}
