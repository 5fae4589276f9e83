# Nobody reads a dead-letter queue that does not call.
resource "aws_sns_topic" "alarms" {
  name              = "${local.name}-alarms"
  kms_master_key_id = module.key["logs"].arn
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = toset(compact([var.alarm_email]))

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "dead_letter" {
  for_each = {
    dead-letter            = aws_sqs_queue.dead_letter.name
    embed-dead-letter      = aws_sqs_queue.embed_dead_letter.name
    mail-dead-letter       = aws_sqs_queue.mail_dead_letter.name
    turn-watch-dead-letter = aws_sqs_queue.turn_watch_dead_letter.name
  }

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "There are messages in the queue ${each.value}"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.value }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
