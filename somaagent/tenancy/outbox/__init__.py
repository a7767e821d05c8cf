"""Domain events: kept in the transaction of what they tell, then published in order."""
