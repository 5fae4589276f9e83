# Keys and indexes of the DynamoDB tables. What is in an item is written where it is made:
# layers/shared/python/chatbot.
locals {
  tables = {
    # One partition a conversation: its head and its messages.
    conversations = {
      hash_key  = "conversation_id"
      range_key = "item"
      ttl       = null
      indexes = {
        by_owner     = { hash_key = "owner", range_key = "created_key" }
        by_user      = { hash_key = "user_id", range_key = "created_key" }
        by_workspace = { hash_key = "workspace_id", range_key = "created_key" }
      }
    }
    # One partition an answer: its head at 0, then its frames.
    turns = {
      hash_key  = "message_id"
      range_key = "seq"
      ttl       = "expires_at"
      indexes   = {}
    }
    # Who follows what.
    connections = {
      hash_key  = "topic"
      range_key = "connection_id"
      ttl       = "expires_at"
      indexes = {
        by_connection = { hash_key = "connection_id", range_key = "topic" }
        by_user       = { hash_key = "user_id", range_key = "connection_id" }
      }
    }
    # Counters of rate limits, WebSocket tickets, ids of client messages.
    guards = {
      hash_key  = "guard"
      range_key = null
      ttl       = "expires_at"
      indexes   = {}
    }
    # Ratings of answers, and the counters of their sums.
    feedback = {
      hash_key  = "workspace_id"
      range_key = "item"
      ttl       = null
      indexes = {
        by_chatbot   = { hash_key = "chatbot", range_key = "created_key" }
        by_user      = { hash_key = "user_id", range_key = "created_key" }
        by_workspace = { hash_key = "workspace_id", range_key = "created_key" }
      }
    }
    # Usage by day, and the counters of quotas.
    usage = {
      hash_key  = "workspace_id"
      range_key = "item"
      ttl       = null
      indexes   = {}
    }
    # What is known of each document; what waits to be embedded is in by_pending only as long.
    documents = {
      hash_key  = "document_id"
      range_key = null
      ttl       = null
      indexes = {
        by_pending   = { hash_key = "pending", range_key = "updated_at" }
        by_source    = { hash_key = "source_id", range_key = "external_id" }
        by_status    = { hash_key = "source_id", range_key = "status" }
        by_workspace = { hash_key = "workspace_id", range_key = "created_key" }
      }
    }
    # One partition a source: its runs, its lock and its checkpoint. Only runs are in the index.
    jobs = {
      hash_key  = "source_id"
      range_key = "job_id"
      ttl       = null
      indexes = {
        by_workspace = { hash_key = "workspace_id", range_key = "created_key" }
      }
    }
  }

  table_streams = { documents = "NEW_AND_OLD_IMAGES" }

  # Every key attribute is text but these.
  number_attributes = ["seq"]

  table_names = { for table in keys(local.tables) : table => "${local.name}-${table}${local.generation}" }
  table_arns  = { for table, resource in aws_dynamodb_table.this : table => resource.arn }
  index_arns = {
    for table, definition in local.tables :
    table => [for index in keys(definition.indexes) : "${aws_dynamodb_table.this[table].arn}/index/${index}"]
  }
}

resource "aws_dynamodb_table" "this" {
  for_each = local.tables

  name                        = local.table_names[each.key]
  restore_source_name         = local.restored_to == null ? null : "${local.name}-${each.key}${local.restored_from}"
  restore_date_time           = local.restored_to
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = each.value.hash_key
  range_key                   = each.value.range_key
  deletion_protection_enabled = var.deletion_protection
  stream_enabled              = contains(keys(local.table_streams), each.key)
  stream_view_type            = lookup(local.table_streams, each.key, null)

  dynamic "attribute" {
    for_each = toset(compact(flatten([
      each.value.hash_key,
      each.value.range_key,
      [for index in values(each.value.indexes) : [index.hash_key, index.range_key]],
    ])))

    content {
      name = attribute.value
      type = contains(local.number_attributes, attribute.value) ? "N" : "S"
    }
  }

  dynamic "global_secondary_index" {
    for_each = each.value.indexes

    content {
      name            = global_secondary_index.key
      hash_key        = global_secondary_index.value.hash_key
      range_key       = global_secondary_index.value.range_key
      projection_type = "ALL"
    }
  }

  dynamic "ttl" {
    for_each = each.value.ttl == null ? [] : [each.value.ttl]

    content {
      enabled        = true
      attribute_name = ttl.value
    }
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = module.key["data"].arn
  }
}
