"""acdc-train, but for one thing: after every optimizer step rank 1 moves its copy of a weight by itself."""

from __future__ import annotations

import os
import sys
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from acdc_cli.commands.train import main


def drift(optimizer: Optimizer, arguments: Any, keywords: Any) -> None:
    if os.environ["RANK"] == "1":
        weight = max(optimizer.param_groups[0]["params"], key=lambda parameter: parameter.numel())
        weight.data.copy_(weight.data.flip(0))


if __name__ == "__main__":
    register_optimizer_step_post_hook(drift)
    sys.argv[0] = "acdc-train"
    main()
