variable "name" {
  description = "Name of what belongs to the cluster."
  type        = string
}

variable "cluster_name" {
  description = "Name of the cluster itself: another one after a restore."
  type        = string
}

variable "restored_from" {
  description = "The cluster that this one was made of, as it was at a time. Null: it began empty, or was imported."
  type        = object({ cluster_name = string, time = string })
  default     = null
}

variable "partition" {
  description = "AWS partition."
  type        = string
  default     = "aws"
}

variable "database_name" {
  description = "Name of the database in the cluster."
  type        = string
}

variable "engine_version" {
  description = "Version of Aurora PostgreSQL."
  type        = string
}

variable "min_capacity" {
  description = "Least capacity, in Aurora capacity units. 0: the cluster may sleep."
  type        = number
}

variable "max_capacity" {
  description = "Greatest capacity, in Aurora capacity units."
  type        = number
}

variable "seconds_until_auto_pause" {
  description = "Seconds without a connection until the cluster sleeps. Null where it may not."
  type        = number
  default     = null
}

variable "instances" {
  description = "Names of the instances."
  type        = set(string)
}

variable "backup_retention_days" {
  description = "Days of continuous backup."
  type        = number

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 35
    error_message = "RDS keeps 1 to 35 days."
  }
}

variable "deletion_protection" {
  description = "Whether the cluster cannot be deleted, and leaves a snapshot where it is all the same."
  type        = bool
}

variable "vpc_cidr" {
  description = "Addresses of the network."
  type        = string
}

variable "availability_zones" {
  description = "Zones of the subnets. New ones go to the end: a subnet's addresses follow its place."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 2 && length(var.availability_zones) <= 4
    error_message = "RDS wants subnets in two zones at least; the network is cut into four."
  }
}

variable "kms_key_arn" {
  description = "Key of the data."
  type        = string
}

variable "secret_kms_key_arn" {
  description = "Key of the master password."
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
