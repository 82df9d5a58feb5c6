"""What inference costs: benchmarks of image classifiers and of text generation."""
