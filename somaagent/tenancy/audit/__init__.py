"""Who did what: entries that are only added, each chained to the one before it."""
