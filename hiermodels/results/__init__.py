"""What is done with a posterior: tables, predictions, ranks, checks, comparisons, reports."""
