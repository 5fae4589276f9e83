# OpenSearch Serverless beside PostgreSQL: an option. It says where passages may be, and PostgreSQL
# which of them there are. `migrate` makes the index, `embed` fills it: `make reindex` at first.

module "collection" {
  source   = "./modules/collection"
  for_each = local.collections

  name        = local.name
  kms_key_arn = module.key["data"].arn

  # Where the database has an instance that waits for the other to fail.
  standby_replicas = length(var.database.instances) > 1
}

# What the functions' roles may do in the index, by what `access` in functions.tf says.
resource "aws_opensearchserverless_access_policy" "this" {
  for_each = local.collections

  name        = local.name
  description = "Who may do what in the index of chunks"
  type        = "data"

  policy = jsonencode([
    for level, permissions in local.index_permissions : {
      Description = level
      Principal   = [for key, function in var.functions : module.function[key].role_arn if lookup(function.access, "opensearch", null) == level]
      Rules = [{
        ResourceType = "index"
        Resource     = ["index/${module.collection[each.key].name}/chunks"]
        Permission   = permissions
      }]
    }
  ])
}

locals {
  collections = var.opensearch ? toset(["this"]) : toset([])

  index_permissions = {
    create = ["aoss:CreateIndex"]
    search = ["aoss:ReadDocument"]
    write  = ["aoss:ReadDocument", "aoss:WriteDocument"] # deletes what it has found
  }

  opensearch_endpoint = join("", values(module.collection)[*].endpoint)
}
