module "backup" {
  source   = "./modules/backup"
  for_each = var.backup_retention_days == null ? {} : { this = var.backup_retention_days }

  name                     = "${local.name}-backup"
  partition                = local.partition
  retention_days           = each.value
  resource_arns            = concat([module.database.cluster_arn], values(local.table_arns))
  kms_key_arn              = module.key["data"].arn
  permissions_boundary_arn = var.permissions_boundary_arn
}
