variable "name" {
  description = "Name of the function, its role and its log group."
  type        = string

  validation {
    condition     = length(var.name) <= 64
    error_message = "A function's name has at most 64 characters."
  }
}

variable "description" {
  description = "What the function does, one sentence."
  type        = string
}

variable "handler" {
  description = "Path of the handler in the archive, with dots."
  type        = string
}

variable "runtime" {
  description = "Lambda runtime."
  type        = string
}

variable "architecture" {
  description = "Architecture that the layers were built for."
  type        = string
}

variable "memory" {
  description = "Memory in MiB."
  type        = number
}

variable "timeout" {
  description = "Time-out in seconds."
  type        = number
}

variable "concurrency" {
  description = "Executions at once that are set aside for the function and that it may not pass; -1: none."
  type        = number
  default     = -1
}

variable "snap_start" {
  description = "Start new environments from a snapshot of the initialized function, taken when a version is published (SnapStart). Lambda refuses it together with provisioned concurrency."
  type        = bool
  default     = false
}

variable "environment" {
  description = "Environment variables."
  type        = map(string)
}

variable "statements" {
  description = "What the function may do beside logging and tracing: IAM actions and the resources they are for."
  type = list(object({
    actions   = list(string)
    resources = list(string)
  }))
  default = []

  validation {
    condition     = alltrue(flatten([for statement in var.statements : [for action in statement.actions : !strcontains(action, "*")]]))
    error_message = "Actions are named one by one, without wildcards."
  }
}

variable "layers" {
  description = "ARNs of the layer versions, in the order in which they are laid over each other."
  type        = list(string)
}

variable "archive" {
  description = "Path of the zip with the function's code."
  type        = string
}

variable "artifact_bucket" {
  description = "Versioned bucket that the zip is put into."
  type        = string
}

variable "artifact_key" {
  description = "Key of the zip in the bucket."
  type        = string
}

variable "dead_letter_queue_arn" {
  description = "Queue for asynchronous events that failed to the last."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the environment variables."
  type        = string
}

variable "log_kms_key_arn" {
  description = "Key of the logs."
  type        = string
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
}

variable "permissions_boundary_arn" {
  description = "Policy that bounds what the role may ever be given. Null: none."
  type        = string
  default     = null
}
