"""Rate limits and circuit breakers: what keeps failing is left in peace, and nobody is asked too often."""
