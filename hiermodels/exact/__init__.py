"""The exact engine."""
