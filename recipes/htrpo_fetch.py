"""HTRPO on the Fetch tasks: the same as ``python recipes/htrpo.py``."""

from torchrl_htrpo.recipes.htrpo import main

if __name__ == "__main__":
    main()
