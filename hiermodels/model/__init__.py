"""What is assumed: levels, formulas, priors."""
