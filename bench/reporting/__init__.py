"""What a result file is made into: series of figures, verdicts, plots, one HTML page."""
