variable "name" {
  description = "Name of the key: its alias without `alias/`."
  type        = string
}

variable "description" {
  description = "What the key encrypts."
  type        = string
}

variable "account_arn" {
  description = "ARN of the account's root, whose IAM policies rule the key."
  type        = string
}

variable "services" {
  description = "AWS services that use the key themselves, with what they do and under which condition."
  type = map(object({
    actions   = list(string)
    condition = map(map(string))
  }))
  default = {}
}

variable "deletion_window_days" {
  description = "Days between the order to delete the key and its end."
  type        = number

  validation {
    condition     = var.deletion_window_days >= 7 && var.deletion_window_days <= 30
    error_message = "KMS waits 7 to 30 days."
  }
}
