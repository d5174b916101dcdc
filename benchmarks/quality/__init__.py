"""What the two quality benchmarks share."""
