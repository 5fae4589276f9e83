# Mails: other functions leave word in a queue, `send_mail` sends them through SES.
locals {
  mail_queue_name = "${local.name}-mail"
  mail_queue_arn  = "${local.arn_prefixes.sqs}:${local.mail_queue_name}"
  mail_queue_url  = replace(local.turn_watch_queue_url, local.turn_watch_queue_name, local.mail_queue_name)

  mail_domain       = split("@", var.mail_sender)[1]
  mail_identity_arn = "arn:${local.partition}:ses:${var.aws_region}:${local.account_id}:identity/${local.mail_domain}"
}

# SES sends for a domain once its DNS has the records of the output `mail_dkim_tokens`.
resource "aws_sesv2_email_identity" "sender" {
  email_identity = local.mail_domain
}

# Addresses stand in these queues, so they have our own key.
resource "aws_sqs_queue" "mail" {
  name                       = local.mail_queue_name
  visibility_timeout_seconds = var.functions["send_mail"].timeout * 6 # what AWS asks of a queue that Lambda reads
  message_retention_seconds  = 86400
  kms_master_key_id          = module.key["data"].arn

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.mail_dead_letter.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "mail_dead_letter" {
  name                      = "${local.mail_queue_name}-dead-letter"
  message_retention_seconds = 1209600
  kms_master_key_id         = module.key["data"].arn

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [local.mail_queue_arn]
  })
}

resource "aws_lambda_event_source_mapping" "mail" {
  event_source_arn        = aws_sqs_queue.mail.arn
  function_name           = module.function["send_mail"].alias_arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]
}
