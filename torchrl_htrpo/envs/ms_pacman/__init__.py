"""Goal-reaching Ms. Pac-Man on ale-py."""
