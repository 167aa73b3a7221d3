"""``python recipes/her.py``: see ``torchrl_htrpo/recipes/her.py``."""

from torchrl_htrpo.recipes.her import main

if __name__ == "__main__":
    main()
