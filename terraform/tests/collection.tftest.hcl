# A collection alone: what kind it is, whose key it has, and how it is reached.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name             = "test"
  kms_key_arn      = "arn:aws:kms:us-east-1:123456789012:key/data"
  standby_replicas = true
}

run "collection_is_for_vectors_with_our_key" {
  command = apply

  module {
    source = "./modules/collection"
  }

  assert {
    condition     = aws_opensearchserverless_collection.this.type == "VECTORSEARCH" && aws_opensearchserverless_collection.this.standby_replicas == "ENABLED"
    error_message = "It takes vectors, and has copies where it was said."
  }

  assert {
    condition = jsondecode(aws_opensearchserverless_security_policy.encryption.policy) == {
      Rules       = [{ ResourceType = "collection", Resource = ["collection/test"] }]
      AWSOwnedKey = false
      KmsARN      = var.kms_key_arn
    }
    error_message = "What is kept is encrypted with our key."
  }

  assert {
    condition     = flatten(jsondecode(aws_opensearchserverless_security_policy.network.policy)[*].Rules) == [{ ResourceType = "collection", Resource = ["collection/test"] }]
    error_message = "The collection is reached, its dashboards are not."
  }

  assert {
    condition     = output.endpoint == "https://mock.us-east-1.aoss.amazonaws.com"
    error_message = "Its address is told."
  }
}

run "collection_without_copies_has_none" {
  command = apply

  module {
    source = "./modules/collection"
  }

  variables {
    standby_replicas = false
  }

  assert {
    condition     = aws_opensearchserverless_collection.this.standby_replicas == "DISABLED"
    error_message = "Copies cost as much as the collection."
  }
}

run "long_names_are_refused" {
  command = plan

  module {
    source = "./modules/collection"
  }

  variables {
    name = "a-name-that-no-policy-of-opensearch-could-have"
  }

  expect_failures = [var.name]
}
