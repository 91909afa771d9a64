"""What every engine, prior and family must keep, tested on each that is registered."""
