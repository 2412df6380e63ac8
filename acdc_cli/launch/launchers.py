"""Which launchers ``acdc-train -m`` has: ours stand under the names of Hydra's own and of the installed plug-ins."""

from __future__ import annotations

from importlib import import_module

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

PACKAGE = "hydra_plugins.acdc_launchers"  # Hydra takes plug-ins from the package hydra_plugins alone
# hydra/launcher=NAME -> the module and the class that stand for it.
LAUNCHERS = {
    "basic": ("_in_turn", "JobsInTurn"),
    "joblib": ("_joblib", "JoblibJobs"),
    "submitit_local": ("_submitit", "LocalJobs"),
    "submitit_slurm": ("_submitit", "SlurmJobs"),
}


def register_launchers() -> None:
    """Make Hydra take our launcher for each name that it knows, with the keys that the name has."""
    store = ConfigStore.instance()
    Plugins.instance()  # Hydra's scan for plug-ins, which stores the names and the keys of those that are installed
    for name in LAUNCHERS.keys() & {option.removesuffix(".yaml") for option in store.list("hydra/launcher")}:
        keys = store.load(f"hydra/launcher/{name}.yaml").node
        keys["_target_"] = _registered(*LAUNCHERS[name])
        store.store(name, keys, "hydra/launcher", provider="acdc_cli")
    store.store("listed", {"_target_": _registered("_listed", "ListedJobs")}, "hydra/sweeper", provider="acdc_cli")


def _registered(module: str, word: str) -> str:
    """Register a class of our package as a plug-in. Returns its full name."""
    Plugins.instance().register(getattr(import_module(f"{PACKAGE}.{module}"), word))
    return f"{PACKAGE}.{module}.{word}"
