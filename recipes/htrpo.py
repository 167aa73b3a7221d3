"""``python recipes/htrpo.py``: see ``torchrl_htrpo/recipes/htrpo.py``."""

from torchrl_htrpo.recipes.htrpo import main

if __name__ == "__main__":
    main()
