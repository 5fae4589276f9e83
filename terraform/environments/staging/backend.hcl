# The bucket is made once, by hand, with versions and encryption on.
bucket       = "chatbot-staging-terraform"
key          = "chatbot.tfstate"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
