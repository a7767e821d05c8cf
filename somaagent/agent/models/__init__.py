"""Adapters: each makes a ``ChatModel`` of one protocol that model servers speak."""
