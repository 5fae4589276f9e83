# A collection of OpenSearch Serverless for vectors. Who may do what in it is the caller's to say.

resource "aws_opensearchserverless_security_policy" "encryption" {
  name        = var.name
  description = "Our key for the collection ${var.name}"
  type        = "encryption"

  policy = jsonencode({
    Rules       = [{ ResourceType = "collection", Resource = ["collection/${var.name}"] }]
    AWSOwnedKey = false
    KmsARN      = var.kms_key_arn
  })
}

# Functions are in no network of ours, so the collection is reached as the Data API and DynamoDB are:
# by a public address that answers only signed requests of roles that a policy names. Dashboards by
# none.
resource "aws_opensearchserverless_security_policy" "network" {
  name        = var.name
  description = "The address of the collection ${var.name}, without dashboards"
  type        = "network"

  policy = jsonencode([{
    Rules           = [{ ResourceType = "collection", Resource = ["collection/${var.name}"] }]
    AllowFromPublic = true
  }])
}

resource "aws_opensearchserverless_collection" "this" {
  name             = var.name
  description      = "Chunks of documents, beside those in PostgreSQL"
  type             = "VECTORSEARCH"
  standby_replicas = var.standby_replicas ? "ENABLED" : "DISABLED"

  depends_on = [aws_opensearchserverless_security_policy.encryption]
}
