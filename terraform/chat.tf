# The WebSocket API, the machine that answers, and what ends a turn whose machinery died.

module "websocket_api" {
  source = "./modules/websocket_api"

  name        = "${local.name}-chat"
  description = "WebSocket API of the chatbot backend"
  stage       = local.websocket_stage

  routes = {
    for key, function in var.functions : function.websocket_route => {
      name       = module.function[key].name
      alias      = module.function[key].alias_name
      invoke_arn = module.function[key].alias_invoke_arn
    } if function.websocket_route != null
  }

  authorizer = {
    name       = module.function["authorizer"].name
    alias      = module.function["authorizer"].alias_name
    invoke_arn = module.function["authorizer"].alias_invoke_arn
  }

  throttle           = var.throttle
  log_kms_key_arn    = module.key["logs"].arn
  log_retention_days = var.log_retention_days

  # API Gateway refuses a WebSocket stage with logs while its account has no role to write them.
  depends_on = [aws_api_gateway_account.this]
}

module "chat_state_machine" {
  source = "./modules/state_machine"

  name = local.chat_state_machine_name
  definition = templatefile("${path.module}/../statemachines/chat.asl.json", merge(
    { for key in keys(var.functions) : "${key}_arn" => module.function[key].alias_arn },
    { tool_arns = local.tool_arns, turns_table = local.table_names.turns },
  ))
  table_arns = [local.table_arns.turns]

  permissions_boundary_arn = var.permissions_boundary_arn
  kms_key_arn              = module.key["data"].arn
  log_kms_key_arn          = module.key["logs"].arn
  log_retention_days       = var.log_retention_days
}

# States.Runtime, States.DataLimitExceeded, a time-out of the whole machine and an abort pass every
# Catch of the machine; the event does not.
resource "aws_cloudwatch_event_rule" "failed_chat" {
  name        = local.failed_chat_rule_name
  description = "Executions of the chat machine that ended without ending their turn"

  event_pattern = jsonencode({
    source      = ["aws.states"]
    detail-type = ["Step Functions Execution Status Change"]
    detail = {
      status          = ["ABORTED", "FAILED", "TIMED_OUT"]
      stateMachineArn = [module.chat_state_machine.arn]
    }
  })
}

resource "aws_cloudwatch_event_target" "failed_chat" {
  rule      = aws_cloudwatch_event_rule.failed_chat.name
  target_id = "chat-end"
  arn       = module.function["chat_end"].alias_arn

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 20
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letter.arn
  }
}

resource "aws_lambda_permission" "failed_chat" {
  statement_id  = "failed-chat"
  action        = "lambda:InvokeFunction"
  function_name = module.function["chat_end"].name
  qualifier     = module.function["chat_end"].alias_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.failed_chat.arn
}

# Every turn leaves a message here before it starts. It comes up when the turn's lease should have
# ended: so a turn of which nothing else is left is ended too.
resource "aws_lambda_event_source_mapping" "turn_watch" {
  event_source_arn        = aws_sqs_queue.turn_watch.arn
  function_name           = module.function["chat_end"].alias_arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]
}
