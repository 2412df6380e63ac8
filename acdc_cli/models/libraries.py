"""Classifiers of torchvision and timm by name, freshly initialised: ``model=timm model.name=NAME``."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from acdc_cli.errors import BadInput, nearest
from acdc_cli.packages import require_package

if TYPE_CHECKING:
    from torch import nn

NAMES_OFFERED = 3  # of the models that may be meant by a name that there is not
# Networks with auxiliary classifiers give more than logits while they train, unless they are built without.
TORCHVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def torchvision_model(name: str, in_channels: int, classes: int) -> nn.Module:
    """One of torchvision's classifiers.

    Raises:
        BadInput: if there is none of that name, or if the images do not have three channels.
    """
    from torchvision import models  # a second to import, for these alone

    names = models.list_models(module=models)
    if name not in names:
        raise _unknown(name, names, "torchvision")
    if in_channels != 3:
        raise BadInput(
            f"model.name={name}: torchvision's models take images of 3 channels, and these have {in_channels}; "
            "use model=timm, whose models take any"
        )
    return models.get_model(name, weights=None, num_classes=classes, **TORCHVISION_OPTIONS.get(name, {}))


def timm_model(name: str, in_channels: int, classes: int) -> nn.Module:
    """One of timm's classifiers.

    Raises:
        BadInput: if timm is not installed, or has none of that name.
    """
    require_package("timm", f"model.name={name}")
    import timm

    names = timm.list_models()
    if name not in names:
        raise _unknown(name, names, "timm")
    return timm.create_model(name, num_classes=classes, in_chans=in_channels)


def _unknown(name: str, names: list[str], library: str) -> BadInput:
    """The error that names the nearest models.

    What stands around a name on the Hub is left out: a tag (resnet50.a1_in1k) names weights, and none are loaded.
    """
    bare = name.rpartition("/")[2].partition(".")[0].lower()
    meant = [bare] if bare in names else get_close_matches(bare, names, NAMES_OFFERED) or [nearest(bare, names)]
    return BadInput(
        f"model.name={name}: {library} has no such model; did you mean model.name={' or '.join(meant)}? "
        f"It has {len(names)} classifiers"
    )
