output "id" {
  description = "Id of the API."
  value       = aws_apigatewayv2_api.this.id
}

output "endpoint" {
  description = "Address of the API on AWS, without a trailing slash."
  value       = aws_apigatewayv2_api.this.api_endpoint
}

output "stage_arn" {
  description = "ARN of the stage."
  value       = aws_apigatewayv2_stage.this.arn
}

output "routes" {
  description = "Route key to the route: what authorizes it, and which authorizer."
  value = {
    for key, route in aws_apigatewayv2_route.this : key => {
      authorization_type = route.authorization_type
      authorizer_id      = route.authorizer_id
    }
  }
}

output "log_group_name" {
  description = "Log group of requests."
  value       = aws_cloudwatch_log_group.access.name
}
