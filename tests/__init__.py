"""Tests, in rooms as the package is; `CONTRIBUTING.md` says what a test compares with."""
