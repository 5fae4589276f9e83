# The state lives in the local stack itself, beside what it describes. The stack makes the bucket
# and says by AWS_ENDPOINT_URL where it is.
bucket = "chatbot-local-terraform"
key    = "chatbot.tfstate"
region = "us-east-1"

use_path_style              = true
skip_credentials_validation = true
skip_metadata_api_check     = true
skip_requesting_account_id  = true
