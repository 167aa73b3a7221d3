"""The configuration of the recipes: dataclasses in Hydra's ConfigStore, checked when a run is built."""

from hydra.core.config_store import ConfigStore

from torchrl_htrpo.recipes.settings.groups import register, register_all
from torchrl_htrpo.recipes.settings.runs import HERConfig, HTRPOConfig, TRPOConfig, lasting, validate

__all__ = ["HERConfig", "HTRPOConfig", "TRPOConfig", "lasting", "register", "register_all", "validate"]

register_all()
for _name, _schema in {"htrpo": HTRPOConfig, "her": HERConfig, "trpo": TRPOConfig}.items():
    ConfigStore.instance().store(name=f"{_name}_schema", node=_schema, provider="torchrl_htrpo")
