"""acdc-train's launchers and its sweeper, in the one package where Hydra allows plug-ins.

Hydra imports every module of ``hydra_plugins`` in every program that uses Hydra, except those whose name begins with an
underscore. Ours do: only ``acdc_cli.launch.launchers`` registers them, so no other program on the machine changes.
"""
