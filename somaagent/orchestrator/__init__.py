"""Boots SomaAgent's services, watches them, and stops them: ``python -m somaagent.orchestrator``."""
