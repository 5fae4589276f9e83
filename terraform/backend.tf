# The rest comes from environments/<environment>/backend.hcl:
# terraform init -backend-config=environments/<environment>/backend.hcl
terraform {
  backend "s3" {}
}
