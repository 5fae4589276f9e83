# The HTTP API alone: its routes, who is asked about them, and what is logged.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name               = "test"
  description        = "Tests"
  throttle           = { rate_limit = 10, burst_limit = 20 }
  log_kms_key_arn    = "arn:aws:kms:us-east-1:123456789012:key/logs"
  log_retention_days = 30
  authorizer         = { name = "authorizer", alias = "live", invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/a/invocations" }
  functions          = { things = { name = "things", alias = "live", invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/t/invocations" } }
  routes             = { "GET /things" = "things", "$default" = "things" }
}

run "every_route_asks_the_authorizer" {
  command = apply

  module {
    source = "./modules/http_api"
  }

  assert {
    condition     = toset([for key, route in aws_apigatewayv2_route.this : route.route_key]) == toset(["GET /things", "$default"])
    error_message = "The routes are those that were given."
  }

  assert {
    condition = alltrue([
      for route in aws_apigatewayv2_route.this :
      route.authorization_type == "CUSTOM" && route.authorizer_id == aws_apigatewayv2_authorizer.this.id
    ])
    error_message = "No route is open."
  }

  assert {
    condition     = aws_apigatewayv2_authorizer.this.authorizer_result_ttl_in_seconds == 0 && length(coalesce(aws_apigatewayv2_authorizer.this.identity_sources, [])) == 0
    error_message = "The authorizer is asked each time, whatever a request carries."
  }

  assert {
    condition = alltrue([
      for permission in [aws_lambda_permission.this["things"], aws_lambda_permission.authorizer] :
      permission.principal == "apigateway.amazonaws.com" && permission.qualifier == "live"
      && startswith(permission.source_arn, aws_apigatewayv2_api.this.execution_arn)
    ])
    error_message = "Functions are called by this API alone, by their alias."
  }

  assert {
    condition     = !strcontains(aws_apigatewayv2_stage.this.access_log_settings[0].format, "querystring") && !strcontains(aws_apigatewayv2_stage.this.access_log_settings[0].format, "header")
    error_message = "Neither queries nor headers are logged: both can carry a token."
  }

  assert {
    condition     = aws_apigatewayv2_stage.this.default_route_settings[0].throttling_rate_limit == 10
    error_message = "The API is throttled."
  }
}

run "route_to_no_function_is_refused" {
  command = plan

  module {
    source = "./modules/http_api"
  }

  variables {
    routes = { "GET /things" = "nobody" }
  }

  expect_failures = [var.routes]
}
