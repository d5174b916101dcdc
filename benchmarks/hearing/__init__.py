"""What the benchmark of speech is made of: sounds whose truth is known, measures, and the comparison of engines."""
