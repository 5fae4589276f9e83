# Not by `terraform test` alone: tests/integration/terraform applies an environment's variables with
# it and reads the state, every policy of it.

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "aws" {
  alias  = "us_east_1"
  source = "./tests/mocks"
}

override_resource {
  target = aws_secretsmanager_secret.signing
  values = { arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:signing" }
}

override_resource {
  target = aws_secretsmanager_secret.database
  values = { arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:login" }
}

# An ephemeral variable that has its default only is unset to `terraform test` when it applies.
variables {
  web_search_key = "a-key"
}

run "applies" {
  command = apply
}
