"""Distributions of rows."""
