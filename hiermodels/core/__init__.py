"""What every other room may use: messages, options, threads, files."""
