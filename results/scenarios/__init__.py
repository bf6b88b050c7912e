"""What the samples of each scenario say, one file per scenario; derived on read."""
