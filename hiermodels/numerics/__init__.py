"""Numerical methods on plain arrays."""
