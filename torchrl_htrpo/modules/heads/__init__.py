"""Policy heads: compute the parameters of an action distribution from the features of a network."""
