"""The recipes: HTRPO, HER, TRPO and the evaluation of a trained policy, from the command line."""
