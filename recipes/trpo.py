"""``python recipes/trpo.py``: see ``torchrl_htrpo/recipes/trpo.py``."""

from torchrl_htrpo.recipes.trpo import main

if __name__ == "__main__":
    main()
