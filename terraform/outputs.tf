output "environment" {
  description = "Name of the environment."
  value       = var.environment
}

output "api_url" {
  description = "Address of the REST API, without a trailing slash: `{api_url}/health`, `{api_url}/api/v1/...`."
  value       = local.api_url
}

output "edge_domain_name" {
  description = "Host that the name of `edge` has to be a CNAME of. Null without `edge`."
  value       = one(values(module.edge)[*].domain_name)
}

output "websocket_url" {
  description = "Address of the WebSocket API, stage included: `{websocket_url}?token=...`."
  value       = local.websocket_url
}

output "function_names" {
  description = "Key of a function, which is its folder under functions/, to its name."
  value       = { for key, function in module.function : key => function.name }

  precondition {
    condition     = toset(keys(var.functions)) == toset([for path in fileset("${path.module}/../functions", "*/handler.py") : dirname(path)])
    error_message = "The folders under functions/ and the rows of functions.tf are not the same."
  }
}

output "log_group_names" {
  description = "Key of a function to its log group."
  value       = { for key, function in module.function : key => function.log_group_name }
}

output "state_machine_arns" {
  description = "Name of a file under statemachines/ to the machine's ARN."
  value = merge(
    { chat = module.chat_state_machine.arn, purge = module.purge_state_machine.arn },
    { for key, machine in module.ingestion_state_machine : key => machine.arn },
  )
}

output "table_names" {
  description = "Key of a table to its name."
  value       = local.table_names
}

output "queue_urls" {
  description = "Key of a queue to its URL."
  value = {
    dead_letter            = aws_sqs_queue.dead_letter.url
    embed_dead_letter      = aws_sqs_queue.embed_dead_letter.url
    mail                   = aws_sqs_queue.mail.url
    mail_dead_letter       = aws_sqs_queue.mail_dead_letter.url
    turn_watch             = aws_sqs_queue.turn_watch.url
    turn_watch_dead_letter = aws_sqs_queue.turn_watch_dead_letter.url
  }
}

output "mail_dkim_tokens" {
  description = "For each token a CNAME record proves to SES that the sender's domain is ours: `<token>._domainkey.<domain>` to `<token>.dkim.amazonses.com`."
  value       = flatten(aws_sesv2_email_identity.sender.dkim_signing_attributes[*].tokens)
}

output "database_cluster_arn" {
  description = "ARN of the cluster, for the Data API."
  value       = module.database.cluster_arn
}

output "database_name" {
  description = "Name of the database."
  value       = local.database_name
}

output "database_secret_arns" {
  description = "Login to the ARN of its secret; `master` is the cluster's own."
  value = merge(
    { master = module.database.master_secret_arn },
    { for login, secret in aws_secretsmanager_secret.database : login => secret.arn },
  )
}

output "signing_secret_arn" {
  description = "ARN of the secret with the keys that sign access tokens."
  value       = aws_secretsmanager_secret.signing.arn
}
