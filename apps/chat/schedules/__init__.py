"""Schedules: a prompt that is put to an agent again and again, at the times of a cron expression."""
