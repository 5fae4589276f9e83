variable "name" {
  description = "Name of vault, plan and role."
  type        = string
}

variable "partition" {
  description = "AWS partition."
  type        = string
  default     = "aws"
}

variable "retention_days" {
  description = "Days that copies are kept, by how often they are made: `daily`, `monthly`."
  type        = map(number)

  validation {
    condition     = length(var.retention_days) > 0 && length(setsubtract(keys(var.retention_days), ["daily", "monthly"])) == 0
    error_message = "Copies are made daily, monthly or both."
  }
}

variable "resource_arns" {
  description = "What is copied."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "Key of the copies."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "Policy that bounds what the role may ever be given. Null: none."
  type        = string
  default     = null
}
