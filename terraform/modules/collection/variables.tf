variable "name" {
  description = "Name of the collection and its policies."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,31}$", var.name))
    error_message = "A name has 3 to 32 lower-case letters, digits and dashes."
  }
}

variable "standby_replicas" {
  description = "Whether the collection has copies in other zones."
  type        = bool
}

variable "kms_key_arn" {
  description = "Key of what is kept."
  type        = string
}
