"""Use AC/DC with Hugging Face's Trainer, with gradient accumulation and clipping.

AC/DC needs one callback and an optimizer that is made here and given to the Trainer. The optimizer that the Trainer
passes to callbacks cannot be used, for two reasons. It is Accelerate's wrapper, which calls no hooks (only its
attribute ``.optimizer`` does). In a resumed run it already has moments before any callback is called, and AC/DC would
take these for the initial state, to which it returns at the start of a dense phase.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from digits import Trained, digits, measure
from torch import nn

from acdc_cli import ACDC, Timeline


class Phases(transformers.TrainerCallback):
    """Tells the method which epoch begins."""

    def __init__(self, method: ACDC) -> None:
        self.method = method

    def on_epoch_begin(self, args: Any, state: transformers.TrainerState, control: Any, **kwargs: Any) -> None:
        """Begin an epoch. The Trainer counts epochs as floats."""
        self.method.begin_epoch(int(state.epoch))


def network() -> nn.Module:
    """Return a tiny vision transformer made from a config, so that nothing is downloaded."""
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = transformers.ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=10, **shape)
    return transformers.ViTForImageClassification(config)


def main(epochs: int = 10, sparsity: float = 0.8, batch_size: int = 16) -> Trained:
    """Train AC/DC's two models and measure them."""
    transformers.set_seed(0)
    data = digits()
    images = data.train_images[:, None] / 16
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    method = ACDC(Timeline.acdc(epochs), sparsity).attach(model, optimizer)

    with TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=2,
            max_grad_norm=1.0,
            warmup_steps=20,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        transformers.Trainer(
            model,
            arguments,
            train_dataset=[{"pixel_values": x, "labels": y} for x, y in zip(images, data.train_labels, strict=True)],
            optimizers=(optimizer, None),  # with None, the Trainer makes the learning-rate schedule
            callbacks=[Phases(method)],
        ).train()

    outputs = method.outputs()
    return measure(model, outputs["sparse"], outputs["dense"], data.test_images[:, None] / 16, data.test_labels)


if __name__ == "__main__":
    print(main())
