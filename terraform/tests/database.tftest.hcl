# The database alone: private, encrypted, kept.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                  = "test"
  cluster_name          = "test"
  database_name         = "chatbot"
  engine_version        = "16"
  min_capacity          = 0.5
  max_capacity          = 1
  instances             = ["a"]
  backup_retention_days = 7
  deletion_protection   = true
  vpc_cidr              = "10.0.0.0/24"
  availability_zones    = ["us-east-1a", "us-east-1b"]
  kms_key_arn           = "arn:aws:kms:us-east-1:123456789012:key/data"
  secret_kms_key_arn    = "arn:aws:kms:us-east-1:123456789012:key/secrets"
  log_kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/logs"
  log_retention_days    = 30
}

run "cluster_is_private_encrypted_and_kept" {
  command = apply

  module {
    source = "./modules/database"
  }

  assert {
    condition = alltrue([
      aws_rds_cluster.this.storage_encrypted && aws_rds_cluster.this.kms_key_id == var.kms_key_arn,
      aws_rds_cluster.this.manage_master_user_password && aws_rds_cluster.this.master_user_secret_kms_key_id == var.secret_kms_key_arn,
      aws_rds_cluster.this.deletion_protection && !aws_rds_cluster.this.skip_final_snapshot,
      aws_rds_cluster.this.backup_retention_period == 7,
    ])
    error_message = "Data and password have keys of ours, RDS renews the password, and data outlives the cluster."
  }

  assert {
    condition     = alltrue([for instance in aws_rds_cluster_instance.this : !coalesce(instance.publicly_accessible, false)])
    error_message = "No instance has a public address."
  }

  assert {
    condition     = contains([for parameter in aws_rds_cluster_parameter_group.this.parameter : "${parameter.name}=${parameter.value}"], "rds.force_ssl=1")
    error_message = "Nobody connects without TLS."
  }

  assert {
    condition = alltrue([
      for name in ["log_parameter_max_length", "log_parameter_max_length_on_error"] :
      contains([for parameter in aws_rds_cluster_parameter_group.this.parameter : "${parameter.name}=${parameter.value}"], "${name}=0")
    ])
    error_message = "Values of statements, which are people's data, are not logged."
  }

  assert {
    condition     = !strcontains(jsonencode([for role in [aws_iam_role_policy.monitoring, aws_iam_role_policy.flow_log] : jsondecode(role.policy).Statement[*].Action]), "*")
    error_message = "Actions are named one by one."
  }
}

run "cluster_is_made_of_another_when_restored" {
  command = plan

  module {
    source = "./modules/database"
  }

  variables {
    cluster_name  = "test-2"
    restored_from = { cluster_name = "test", time = "2026-03-29T08:30:00Z" }
  }

  assert {
    condition = alltrue([
      aws_rds_cluster.this.cluster_identifier == "test-2" && aws_rds_cluster_instance.this["a"].identifier == "test-2-a",
      aws_rds_cluster.this.restore_to_point_in_time[0].source_cluster_identifier == "test",
      aws_rds_cluster.this.restore_to_point_in_time[0].restore_to_time == "2026-03-29T08:30:00Z",
      aws_db_subnet_group.this.name == "test" && aws_cloudwatch_log_group.this.name == "/aws/rds/cluster/test-2/postgresql",
    ])
    error_message = "The cluster is a new one in the same network, from the old one as it was."
  }
}

run "backups_of_no_days_are_refused" {
  command = plan

  module {
    source = "./modules/database"
  }

  variables {
    backup_retention_days = 0
  }

  expect_failures = [var.backup_retention_days]
}
