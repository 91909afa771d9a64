"""Nested groups with one normal effect each."""
