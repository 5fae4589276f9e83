# CloudFront and its WAF alone.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                = "test"
  domain_name         = "api.example.com"
  certificate_arn     = "arn:aws:acm:us-east-1:123456789012:certificate/c"
  origin_domain_name  = "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"
  origin_secret       = "ours"
  requests_per_minute = 100
  log_kms_key_arn     = "arn:aws:kms:us-east-1:123456789012:key/logs"
  log_retention_days  = 30
}

run "requests_pass_the_waf_and_tell_that_they_did" {
  command = apply

  module {
    source = "./modules/edge"
  }

  assert {
    condition     = aws_cloudfront_distribution.this.web_acl_id == aws_wafv2_web_acl.this.arn
    error_message = "The WAF is before the API."
  }

  assert {
    condition = [
      for header in one(aws_cloudfront_distribution.this.origin).custom_header : nonsensitive(header.value) if header.name == "x-origin-secret"
    ] == ["ours"]
    error_message = "The API is told that a request came this way."
  }

  assert {
    condition     = strcontains(aws_cloudfront_function.viewer_address.code, "event.viewer.ip")
    error_message = "The API is told whose request it is, whatever the client says."
  }

  assert {
    condition     = aws_cloudfront_distribution.this.default_cache_behavior[0].cache_policy_id == local.policies.never_cache
    error_message = "Answers are somebody's own: none is kept."
  }

  assert {
    condition     = [for rule in aws_wafv2_web_acl.this.rule : rule.statement[0].rate_based_statement[0].limit if rule.name == "rate"] == [100]
    error_message = "An address is limited."
  }

  assert {
    condition = toset([
      for field in aws_wafv2_web_acl_logging_configuration.this.redacted_fields : one(field.single_header).name if length(field.single_header) > 0
    ]) == toset(["authorization", "cookie", "x-origin-secret"])
    error_message = "The WAF logs nothing that opens anything."
  }
}
