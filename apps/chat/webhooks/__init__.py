"""Webhooks: a user's server is told when a turn ends, as the Standard Webhooks specification says."""
