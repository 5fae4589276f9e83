module "database" {
  source = "./modules/database"

  name                     = local.name
  cluster_name             = local.database_cluster_name
  restored_from            = local.restored_to == null ? null : { cluster_name = "${local.name}${local.restored_from}", time = local.restored_to }
  partition                = local.partition
  database_name            = local.database_name
  engine_version           = var.database.engine_version
  min_capacity             = var.database.min_capacity
  max_capacity             = var.database.max_capacity
  seconds_until_auto_pause = var.database.seconds_until_auto_pause
  instances                = var.database.instances
  backup_retention_days    = var.database.backup_retention_days
  deletion_protection      = var.deletion_protection
  permissions_boundary_arn = var.permissions_boundary_arn
  vpc_cidr                 = var.vpc_cidr
  availability_zones       = var.availability_zones
  kms_key_arn              = module.key["data"].arn
  secret_kms_key_arn       = module.key["secrets"].arn
  log_kms_key_arn          = module.key["logs"].arn
  log_retention_days       = var.log_retention_days
}
