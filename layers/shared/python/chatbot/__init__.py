"""What several of the Lambdas share; it imports nothing from `functions`."""
