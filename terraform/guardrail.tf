# What chatbots with `guardrail_enabled` neither take nor say. Functions are told the number of a
# version, so that a change comes with an apply, and whole.

resource "aws_bedrock_guardrail" "this" {
  name                      = local.name
  description               = "What chatbots neither take nor say"
  blocked_input_messaging   = var.guardrail.blocked_input_message
  blocked_outputs_messaging = var.guardrail.blocked_output_message
  kms_key_arn               = module.key["data"].arn

  content_policy_config {
    dynamic "filters_config" {
      for_each = var.guardrail.content_filters

      content {
        type            = filters_config.key
        input_strength  = filters_config.value.input
        output_strength = filters_config.value.output
      }
    }
  }

  dynamic "topic_policy_config" {
    for_each = length(var.guardrail.denied_topics) > 0 ? [var.guardrail.denied_topics] : []

    content {
      dynamic "topics_config" {
        for_each = topic_policy_config.value

        content {
          name       = topics_config.key
          definition = topics_config.value.definition
          examples   = topics_config.value.examples
          type       = "DENY"
        }
      }
    }
  }

  word_policy_config {
    managed_word_lists_config {
      type = "PROFANITY"
    }

    dynamic "words_config" {
      for_each = toset(var.guardrail.blocked_words)

      content {
        text = words_config.value
      }
    }
  }

  sensitive_information_policy_config {
    dynamic "pii_entities_config" {
      for_each = toset(var.guardrail.blocked_entities)

      content {
        type   = pii_entities_config.value
        action = "BLOCK"
      }
    }
  }
}

resource "aws_bedrock_guardrail_version" "this" {
  guardrail_arn = aws_bedrock_guardrail.this.guardrail_arn
  description   = "Released by Terraform"

  # The old one is in use until the functions have been told of the new one.
  lifecycle {
    create_before_destroy = true
    replace_triggered_by  = [aws_bedrock_guardrail.this]
  }
}
