"""The command line: ``python -m torchrl_htrpo train task=reach``.

Every command takes Hydra's overrides (``--help`` lists the configuration); see ``torchrl_htrpo/recipes``.
"""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "train": ("htrpo", "main", "train HTRPO on a goal task: task=reach"),
    "her": ("her", "main", "train hindsight experience replay: task=reach"),
    "trpo": ("trpo", "main", "train TRPO on a gymnasium environment: env=Hopper-v5"),
    "evaluate": ("evaluate", "main", "measure the success rate of a trained policy: run=outputs/..."),
    "play": ("evaluate", "play", "record a trained policy as a GIF: run=outputs/..."),
}


def main() -> None:
    """Run the command that is the first argument."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command not in COMMANDS:
        lines = "\n".join(f"  {name:<10}{text}" for name, (_, _, text) in COMMANDS.items())
        text = f"usage: htrpo COMMAND [KEY=VALUE ...]\n\n{lines}\n"
        sys.exit(text if command in ("-h", "--help") else f"htrpo: {command} is not a command\n\n{text}")
    module, function, _ = COMMANDS[command]
    sys.argv = [f"{sys.argv[0]} {command}", *sys.argv[2:]]
    getattr(import_module(f"torchrl_htrpo.recipes.{module}"), function)()


if __name__ == "__main__":
    main()
