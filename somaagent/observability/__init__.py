"""What every process tells of itself: log lines, metrics, traces, health."""
