"""The config that a run folder holds, read back and checked."""

from __future__ import annotations

from acdc_cli.config.checks import check_ranges
from acdc_cli.config.identity import run_id
from acdc_cli.config.schedule import timeline_of
from acdc_cli.config.schema import Config, is_pruned_to_target
from acdc_cli.config.sparsity import allocation_of
from acdc_cli.config.text import PluginMissing, from_yaml
from acdc_cli.errors import BadInput, reason
from acdc_cli.records.checksums import REMEDY
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder


def read_config(folder: RunFolder) -> Config:
    """Return config.yaml, as complete as a run writes it. Raises Damaged; BadInput if it needs a plug-in."""
    text = folder.read_config_text()
    try:
        config = from_yaml(text)
        check_ranges(config)
        timeline_of(config)
        if is_pruned_to_target(config):
            allocation_of(config)
    except PluginMissing as error:
        raise BadInput(f"{folder.path}: {error}") from None
    except (BadInput, ValueError, TypeError, AssertionError, KeyError, AttributeError) as error:
        raise Damaged(folder.config, f"not a run's config: {reason(error)}", REMEDY) from None
    return config


def require_same_run(folder: RunFolder, config: Config, result_id: str) -> None:
    """Raise Damaged if config.yaml and result.json are of two runs, as after a file was copied from another folder."""
    if (own := run_id(config)) != result_id:
        raise Damaged(folder.config, f"of run {own}, and result.json is of run {result_id}", REMEDY)
