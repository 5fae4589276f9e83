output "id" {
  description = "Id of the API."
  value       = aws_apigatewayv2_api.this.id
}

output "execution_arn" {
  description = "ARN prefix of the API's stages and connections."
  value       = aws_apigatewayv2_api.this.execution_arn
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
