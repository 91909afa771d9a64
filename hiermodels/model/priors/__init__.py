"""Priors of sds, variances, means and coefficients; one class each, named in ``registry``."""
