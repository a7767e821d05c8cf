"""What is spent, for those who read of it and those who bound it."""
