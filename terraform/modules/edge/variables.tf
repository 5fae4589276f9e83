variable "name" {
  description = "Name of the distribution's parts."
  type        = string
}

variable "domain_name" {
  description = "Name under which clients know the API."
  type        = string
}

variable "certificate_arn" {
  description = "Certificate of the name, in us-east-1."
  type        = string
}

variable "origin_domain_name" {
  description = "Host of the HTTP API."
  type        = string
}

variable "origin_secret" {
  description = "What the header x-origin-secret tells the API."
  type        = string
  sensitive   = true
}

variable "requests_per_minute" {
  description = "Requests a minute of one address; those above are blocked."
  type        = number
}

variable "log_kms_key_arn" {
  description = "Key of the logs, in us-east-1."
  type        = string
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
}
