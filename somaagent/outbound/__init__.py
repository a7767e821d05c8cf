"""Requests to addresses that somebody outside chose, a webhook's or a tool's: all of them go this way."""
