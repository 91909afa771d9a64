"""Truths from elsewhere: dense algebra, many digits, published figures."""
