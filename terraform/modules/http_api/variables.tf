variable "name" {
  description = "Name of the API."
  type        = string
}

variable "description" {
  description = "What the API is for."
  type        = string
}

variable "routes" {
  description = "Route key (`GET /path`, or `$default`) to the key of the function that serves it."
  type        = map(string)

  validation {
    condition     = alltrue([for function in values(var.routes) : contains(keys(var.functions), function)])
    error_message = "Every route goes to a function of `functions`."
  }
}

variable "functions" {
  description = "Functions that serve routes: name, alias, and the alias's URI for API Gateway."
  type = map(object({
    name       = string
    alias      = string
    invoke_arn = string
  }))
}

variable "authorizer" {
  description = "Function that tells who the caller is."
  type = object({
    name       = string
    alias      = string
    invoke_arn = string
  })
}

variable "cors_allowed_origins" {
  description = "Origins whose pages may call the API. Empty: none."
  type        = list(string)
  default     = []
}

variable "throttle" {
  description = "Requests a second and burst that the API takes."
  type = object({
    rate_limit  = number
    burst_limit = number
  })
}

variable "log_kms_key_arn" {
  description = "Key of the logs."
  type        = string
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
}
