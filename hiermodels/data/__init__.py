"""From frames to grouped data."""
