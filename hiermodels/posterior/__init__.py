"""What every engine returns."""
