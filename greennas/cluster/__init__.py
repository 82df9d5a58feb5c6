"""Searches on a Ray cluster: what a training gets there, what is sent there, and what runs there."""
