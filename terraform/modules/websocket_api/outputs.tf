output "id" {
  description = "Id of the API."
  value       = aws_apigatewayv2_api.this.id
}

output "execution_arn" {
  description = "ARN prefix of the API's stages and connections."
  value       = aws_apigatewayv2_api.this.execution_arn
}
