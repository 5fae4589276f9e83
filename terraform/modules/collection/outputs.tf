output "arn" {
  description = "ARN of the collection."
  value       = aws_opensearchserverless_collection.this.arn
}

output "endpoint" {
  description = "Address of the collection."
  value       = aws_opensearchserverless_collection.this.collection_endpoint
}

output "name" {
  description = "Name of the collection, for policies of access."
  value       = aws_opensearchserverless_collection.this.name
}
