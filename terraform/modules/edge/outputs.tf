output "domain_name" {
  description = "Host of the distribution, which the name of the API is an alias of."
  value       = aws_cloudfront_distribution.this.domain_name
}

output "web_acl_arn" {
  description = "ARN of the WAF."
  value       = aws_wafv2_web_acl.this.arn
}
