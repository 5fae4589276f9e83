variable "name" {
  description = "Name of the machine, its role and its log group."
  type        = string
}

variable "definition" {
  description = "Amazon States Language, placeholders filled in."
  type        = string

  validation {
    condition     = can(jsondecode(var.definition).States[jsondecode(var.definition).StartAt])
    error_message = "The definition is JSON, and its first state one of its states."
  }
}

variable "function_arns" {
  description = "Functions that the machine calls by an ARN it is given at run time."
  type        = set(string)
  default     = []
}

variable "table_arns" {
  description = "DynamoDB tables that the machine's own tasks read and write."
  type        = set(string)
  default     = []
}

variable "kms_key_arn" {
  description = "Key of the definition and of the data of executions."
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
