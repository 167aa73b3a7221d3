"""HTRPO on a goal task: ``python recipes/htrpo.py task=reach`` (see ``torchrl_htrpo/recipes/htrpo.py``)."""

from torchrl_htrpo.recipes.htrpo import main

if __name__ == "__main__":
    main()
