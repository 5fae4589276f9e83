# A WebSocket API: every route goes to a function, `$connect` behind a request authorizer.

resource "aws_apigatewayv2_api" "this" {
  name          = var.name
  description   = var.description
  protocol_type = "WEBSOCKET"

  # Frames are told apart in code: only `$default` is routed, so that a frame that is no JSON, or
  # of an unknown type, gets an answer of ours.
  route_selection_expression = "$request.body.type"
}

# No identity source: all that are named must be there, and a client sends a token or a ticket.
resource "aws_apigatewayv2_authorizer" "this" {
  api_id          = aws_apigatewayv2_api.this.id
  name            = "principal"
  authorizer_type = "REQUEST"
  authorizer_uri  = var.authorizer.invoke_arn
}

resource "aws_lambda_permission" "authorizer" {
  statement_id  = "websocket-authorizer"
  action        = "lambda:InvokeFunction"
  function_name = var.authorizer.name
  qualifier     = var.authorizer.alias
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/authorizers/${aws_apigatewayv2_authorizer.this.id}"
}

resource "aws_apigatewayv2_integration" "this" {
  for_each = var.routes

  api_id             = aws_apigatewayv2_api.this.id
  description        = each.value.name
  integration_type   = "AWS_PROXY"
  integration_uri    = each.value.invoke_arn
  integration_method = "POST"
}

resource "aws_apigatewayv2_route" "this" {
  #checkov:skip=CKV_AWS_309: AWS authorizes `$connect` only; later frames belong to a connection that was authorized
  for_each = var.routes

  api_id             = aws_apigatewayv2_api.this.id
  route_key          = each.key
  target             = "integrations/${aws_apigatewayv2_integration.this[each.key].id}"
  authorization_type = each.key == "$connect" ? "CUSTOM" : "NONE"
  authorizer_id      = each.key == "$connect" ? aws_apigatewayv2_authorizer.this.id : null
}

resource "aws_lambda_permission" "this" {
  for_each = var.routes

  statement_id  = "websocket-api"
  action        = "lambda:InvokeFunction"
  function_name = each.value.name
  qualifier     = each.value.alias
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/*/${each.key}"
}

resource "aws_cloudwatch_log_group" "access" {
  name              = "/aws/apigateway/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_kms_key_arn
}

resource "aws_apigatewayv2_stage" "this" {
  #checkov:skip=CKV2_AWS_51: clients are browsers; they show a token, not a certificate
  api_id      = aws_apigatewayv2_api.this.id
  name        = var.stage
  auto_deploy = true

  # Neither the handshake's query, which carries the token, nor frames.
  default_route_settings {
    data_trace_enabled       = false
    detailed_metrics_enabled = true
    logging_level            = "ERROR"
    throttling_rate_limit    = var.throttle.rate_limit
    throttling_burst_limit   = var.throttle.burst_limit
  }

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    format = jsonencode({
      request_id          = "$context.requestId"
      extended_request_id = "$context.extendedRequestId"
      connection_id       = "$context.connectionId"
      time                = "$context.requestTime"
      source_ip           = "$context.identity.sourceIp"
      event_type          = "$context.eventType"
      route               = "$context.routeKey"
      status              = "$context.status"
      integration_error   = "$context.integrationErrorMessage"
      authorizer_error    = "$context.authorizer.error"
      gateway_error       = "$context.error.message"
    })
  }
}
