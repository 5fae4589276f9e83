variable "name" {
  description = "Name of the API."
  type        = string
}

variable "description" {
  description = "What the API is for."
  type        = string
}

variable "stage" {
  description = "Name of the stage, which ends the API's address."
  type        = string
}

variable "routes" {
  description = "Route key (`$connect`, `$default`, `$disconnect`) to the function that serves it."
  type = map(object({
    name       = string
    alias      = string
    invoke_arn = string
  }))

  validation {
    condition     = contains(keys(var.routes), "$connect")
    error_message = "Without a `$connect` route nobody would be authorized."
  }
}

variable "authorizer" {
  description = "Function that lets a connection in or not."
  type = object({
    name       = string
    alias      = string
    invoke_arn = string
  })
}

variable "throttle" {
  description = "Frames a second and burst that the API takes."
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
