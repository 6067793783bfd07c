"""Attributes of whole images: a yes or no each, learned with binary cross-entropy."""

from typing import Any

import numpy as np
import torch
from torch import nn

from unface.predictions.attributes import average_precisions
from unface.study.architectures import loss_and_logits
from unface.study.computing import Computing
from unface.study.reading import ViewReader
from unface.study.training import Classification, Training, all_logits
from unface.study.views import as_input


class Attributes(Classification):
    """Binary cross-entropy, the mean over attributes."""

    name, score = "attributes", "right_attributes"

    def loss(
        self, name: str, network: Any, views: Any, labels: Any, computing: Computing
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss summed over images, and the sum over images of the share of attributes that are right."""
        device = computing.torch_device
        labels = labels.to(device, computing.dtype, non_blocking=True)
        images = as_input(views, device, computing.dtype)
        loss, logits = loss_and_logits(name, network, images, labels, _loss_of)
        return loss, ((logits.detach() > 0) == (labels > 0)).float().mean(dim=1).sum()

    def validated(
        self, training: Training, reader: ViewReader, network: nn.Module, computing: Computing
    ) -> dict[str, float]:
        """Mean average precision over the attributes that some validation image has."""
        logits = all_logits(training, reader, network, computing)
        return {"validation_map": float(np.nanmean(average_precisions(logits, reader.images.labels)))}


def _loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1).sum()


ATTRIBUTES = Attributes()
