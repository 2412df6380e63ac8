"""Which launchers a sweep has (hydra/launcher=NAME), and what to say when one is not installed."""

from __future__ import annotations

from contextlib import suppress

from hydra.core.plugins import Plugins

from acdc_cli.commands.jobs_in_turn import JobsInTurn


def use_own_launchers() -> None:
    """Let Hydra take our launchers where a config names its own, or those of the plug-ins that are installed.

    Hydra finds a launcher by its plug-in's name, in a table of classes.
    """
    classes = Plugins.instance().class_name_to_class
    classes["hydra._internal.core_plugins.basic_launcher.BasicLauncher"] = JobsInTurn
    with suppress(ImportError):
        from acdc_cli.commands.joblib_jobs import JoblibJobs

        classes["hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"] = JoblibJobs
    with suppress(ImportError):
        from acdc_cli.commands.submitit_jobs import LocalJobs, SlurmJobs

        classes["hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"] = LocalJobs
        classes["hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"] = SlurmJobs
