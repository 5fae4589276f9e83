variable "name" {
  description = "Name of the bucket, unique in the world."
  type        = string

  validation {
    condition     = length(var.name) <= 63
    error_message = "A bucket's name has at most 63 characters."
  }
}

variable "kms_key_arn" {
  description = "Key of the objects. Null: S3's own."
  type        = string
}

variable "access_log" {
  description = "Bucket and prefix that this one's access log goes to. Null: none."
  type = object({
    bucket = string
    prefix = string
  })
  default = null
}

variable "access_log_writer" {
  description = "Account and buckets whose access logs come here. Null: none."
  type = object({
    account_id  = string
    source_arns = list(string)
  })
  default = null
}

variable "noncurrent_version_days" {
  description = "Days until a replaced version expires. Null: never."
  type        = number
}

variable "expiration_days" {
  description = "Days until an object expires. Null: never."
  type        = number
  default     = null
}

variable "force_destroy" {
  description = "Whether the bucket is destroyed with what is in it."
  type        = bool
}
