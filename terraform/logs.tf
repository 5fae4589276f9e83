# API Gateway writes a WebSocket stage's logs under a role that the account names, once for all its
# APIs of a region: environments of one account have to share it.
resource "aws_iam_role" "api_gateway_logs" {
  name                 = "${local.name}-api-gateway-logs"
  description          = "Lets API Gateway write logs"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "apigateway.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "api_gateway_logs" {
  name = "access"
  role = aws_iam_role.api_gateway_logs.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:DescribeLogGroups",
        "logs:DescribeLogStreams",
        "logs:FilterLogEvents",
        "logs:GetLogEvents",
        "logs:PutLogEvents",
      ]
      # API Gateway names its execution log groups after ids that it makes up.
      Resource = "${local.arn_prefixes.logs}:log-group:*"
    }]
  })
}

resource "aws_api_gateway_account" "this" {
  cloudwatch_role_arn = aws_iam_role.api_gateway_logs.arn

  depends_on = [aws_iam_role_policy.api_gateway_logs]
}
