# Aurora Serverless v2, PostgreSQL, with the Data API and a master password that only RDS knows.

resource "aws_db_subnet_group" "this" {
  name        = var.name
  description = "Private subnets of ${var.name}"
  subnet_ids  = [for subnet in aws_subnet.this : subnet.id]
}

resource "aws_rds_cluster_parameter_group" "this" {
  name        = var.name
  description = "Parameters of ${var.name}"
  family      = "aurora-postgresql${split(".", var.engine_version)[0]}"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Schema changes and slow statements, without the values in them: those are people's data.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  parameter {
    name  = "log_parameter_max_length"
    value = "0"
  }

  parameter {
    name  = "log_parameter_max_length_on_error"
    value = "0"
  }
}

# RDS would make it itself, without retention and key.
resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/rds/cluster/${var.cluster_name}/postgresql"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_kms_key_arn
}

resource "aws_rds_cluster" "this" {
  #checkov:skip=CKV2_AWS_8: the root's module.backup copies the cluster where its environment keeps copies, which Checkov does not follow from module to module
  cluster_identifier = var.cluster_name
  engine             = "aurora-postgresql"
  engine_mode        = "provisioned" # which is what Serverless v2 is to RDS
  engine_version     = var.engine_version
  database_name      = var.database_name

  master_username               = "master"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.secret_kms_key_arn

  enable_http_endpoint                = true
  iam_database_authentication_enabled = true

  serverlessv2_scaling_configuration {
    min_capacity             = var.min_capacity
    max_capacity             = var.max_capacity
    seconds_until_auto_pause = var.seconds_until_auto_pause
  }

  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.this.id]
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.this.name

  storage_encrypted = true
  kms_key_id        = var.kms_key_arn

  backup_retention_period   = var.backup_retention_days
  copy_tags_to_snapshot     = true
  deletion_protection       = var.deletion_protection
  skip_final_snapshot       = !var.deletion_protection
  final_snapshot_identifier = var.deletion_protection ? "${var.cluster_name}-final" : null

  enabled_cloudwatch_logs_exports = ["postgresql"]

  dynamic "restore_to_point_in_time" {
    for_each = var.restored_from[*]

    content {
      source_cluster_identifier = restore_to_point_in_time.value.cluster_name
      restore_to_time           = restore_to_point_in_time.value.time
      restore_type              = "full-copy"
    }
  }

  depends_on = [aws_cloudwatch_log_group.this]
}

resource "aws_rds_cluster_instance" "this" {
  for_each = var.instances

  identifier         = "${var.cluster_name}-${each.key}"
  cluster_identifier = aws_rds_cluster.this.id
  engine             = aws_rds_cluster.this.engine
  engine_version     = aws_rds_cluster.this.engine_version
  instance_class     = "db.serverless"

  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true

  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn

  monitoring_interval = 60
  monitoring_role_arn = aws_iam_role.monitoring.arn
}

resource "aws_iam_role" "monitoring" {
  name                 = "${var.name}-database-monitoring"
  description          = "Lets RDS write enhanced monitoring"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "monitoring" {
  name = "access"
  role = aws_iam_role.monitoring.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:DescribeLogStreams",
        "logs:GetLogEvents",
        "logs:PutLogEvents",
        "logs:PutRetentionPolicy",
      ]
      # RDS keeps one group for the monitoring of all instances.
      Resource = "arn:${var.partition}:logs:*:*:log-group:RDSOSMetrics*"
    }]
  })
}
