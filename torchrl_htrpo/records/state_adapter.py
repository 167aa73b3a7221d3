"""Save state dictionaries as safetensors and JSON, which hold no executable content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor
from torchrl.checkpoint import CheckpointAdapter

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.records.disk import write_file

TENSORS, TREE = "tensors.safetensors", "state.json"
_SEQUENCES = {"list": list, "tuple": tuple}


class StateAdapter(CheckpointAdapter):
    """Save and load anything with ``state_dict`` and ``load_state_dict``, for :class:`torchrl.checkpoint.Checkpoint`.

    Tensors go into one safetensors file under their path (``weight``, ``state/0/exp_avg``), the rest into one JSON
    file. Files are read into memory whole, never mapped. Tensors are loaded on the CPU.

    Example:
        >>> import tempfile, torch
        >>> from torchrl.checkpoint import Checkpoint
        >>> checkpoint = Checkpoint().register("net", torch.nn.Linear(2, 1), adapter=StateAdapter())
        >>> folder = checkpoint.save(tempfile.mkdtemp() + "/saved")
        >>> sorted(file.name for file in folder.rglob("*") if file.is_file())
        ['manifest.json', 'state.json', 'tensors.safetensors']
    """

    adapter_id = "torchrl_htrpo.state"

    def save(self, component: Any, path: Path, *, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Write ``component.state_dict(*args, **kwargs)`` below a folder; return the state.

        Raises:
            TypeError: if the state holds anything but tensors, dicts, lists, tuples, numbers, strings, bools and None.
        """
        path.mkdir(parents=True, exist_ok=True)
        state = component.state_dict(*args, **kwargs)
        tensors: dict[str, Tensor] = {}
        tree = _encode(state, (), tensors)
        write_file(path / TREE, json.dumps(tree, separators=(",", ":")).encode())
        write_file(path / TENSORS, save(tensors))
        return state

    def load(
        self,
        component: Any,
        path: Path,
        *,
        map_location: Any,
        tensor_load_kwargs: Mapping[str, Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Read a state and pass it to ``component.load_state_dict``; raise a ValueError if the files hold no state.

        Tensors are on the CPU, and components move them to their own device: ``map_location`` is not used.
        """
        tensors = load((path / TENSORS).read_bytes())
        component.load_state_dict(_decode(json.loads((path / TREE).read_bytes()), tensors), *args, **kwargs)


def _encode(value: Any, path: tuple[object, ...], tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = "/".join(map(str, path))
        if name in tensors:
            raise TypeError(refusal("StateAdapter", "state", "of distinct paths", name))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()  # copy: safetensors refuses shared memory
        return {"tensor": name}
    if isinstance(value, Mapping):
        if not all(type(key) in (str, int) for key in value):
            raise TypeError(refusal("StateAdapter", f"keys of {path}", "strings or integers", list(value)))
        return {"dict": [[key, _encode(item, (*path, key), tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(item, (*path, index), tensors) for index, item in enumerate(value)]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(refusal("StateAdapter", f"state at {path}", "a tensor or a JSON value", type(value).__name__))


def _decode(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    (kind, content), *rest = node.items()
    if not rest and kind == "tensor":
        return tensors[content]
    if not rest and kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    if not rest and kind in _SEQUENCES:
        return _SEQUENCES[kind](_decode(item, tensors) for item in content)
    raise ValueError(refusal("StateAdapter", TREE, "a tree of tensors and values", sorted(node)))
