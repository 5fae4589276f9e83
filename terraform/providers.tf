# Credentials and, for the local stack, AWS_ENDPOINT_URL come from the caller's environment.
provider "aws" {
  region = var.aws_region

  # A local gateway answers on one host name and knows neither credentials nor instance metadata.
  s3_use_path_style           = local.is_local
  skip_credentials_validation = local.is_local
  skip_metadata_api_check     = local.is_local

  default_tags {
    tags = local.tags
  }
}

# CloudFront wants its WAF and its logs there.
provider "aws" {
  alias  = "us_east_1"
  region = "us-east-1"

  s3_use_path_style           = local.is_local
  skip_credentials_validation = local.is_local
  skip_metadata_api_check     = local.is_local

  default_tags {
    tags = local.tags
  }
}

locals {
  tags = merge(var.tags, { application = "chatbot", environment = var.environment })
}
