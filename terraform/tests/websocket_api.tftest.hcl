# The WebSocket API alone: a connection is authorized when it is made, and frames are not logged.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name               = "test"
  description        = "Tests"
  stage              = "ws"
  throttle           = { rate_limit = 10, burst_limit = 20 }
  log_kms_key_arn    = "arn:aws:kms:us-east-1:123456789012:key/logs"
  log_retention_days = 30
  authorizer         = { name = "authorizer", alias = "live", invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/a/invocations" }
  routes = {
    for route in ["$connect", "$default", "$disconnect"] :
    route => { name = "f", alias = "live", invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/f/invocations" }
  }
}

run "connections_are_authorized_when_they_are_made" {
  command = apply

  module {
    source = "./modules/websocket_api"
  }

  assert {
    condition     = { for key, route in aws_apigatewayv2_route.this : key => route.authorization_type } == { "$connect" = "CUSTOM", "$default" = "NONE", "$disconnect" = "NONE" }
    error_message = "AWS authorizes $connect only, and it has to."
  }

  assert {
    condition     = aws_apigatewayv2_route.this["$connect"].authorizer_id == aws_apigatewayv2_authorizer.this.id
    error_message = "The authorizer is asked."
  }

  assert {
    condition     = !aws_apigatewayv2_stage.this.default_route_settings[0].data_trace_enabled && !strcontains(aws_apigatewayv2_stage.this.access_log_settings[0].format, "querystring")
    error_message = "Neither frames nor the handshake's query are logged."
  }
}
