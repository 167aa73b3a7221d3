"""Products with the Gauss-Newton matrix of weighted residuals."""
