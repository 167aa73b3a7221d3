"""``python recipes/evaluate.py``: see ``torchrl_htrpo/recipes/evaluate.py``."""

from torchrl_htrpo.recipes.evaluate import main

if __name__ == "__main__":
    main()
