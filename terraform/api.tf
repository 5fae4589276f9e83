locals {
  routes = merge([
    for key, function in var.functions : { for route in function.routes : route => key }
  ]...)
}

module "http_api" {
  source = "./modules/http_api"

  name        = "${local.name}-rest"
  description = "REST API of the chatbot backend"
  routes      = local.routes

  functions = {
    for key in toset(values(local.routes)) : key => {
      name       = module.function[key].name
      alias      = module.function[key].alias_name
      invoke_arn = module.function[key].alias_invoke_arn
    }
  }

  authorizer = {
    name       = module.function["authorizer"].name
    alias      = module.function["authorizer"].alias_name
    invoke_arn = module.function["authorizer"].alias_invoke_arn
  }

  cors_allowed_origins = var.cors_allowed_origins
  throttle             = var.throttle
  log_kms_key_arn      = module.key["logs"].arn
  log_retention_days   = var.log_retention_days
}
