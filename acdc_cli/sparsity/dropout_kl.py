"""Sparse variational dropout's formulas (Molchanov, Ashukha, Vetrov, ICML 2017, arXiv 1701.05369): pure functions.

A weight is N(theta, sigma^2), alpha = sigma^2 / theta^2 is its dropout rate, and the prior is log-uniform.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

K1, K2, K3 = 0.63576, 1.87320, 1.48695  # equation 14
LOG_ALPHA_LIMIT = 8.0  # log alpha is clipped to [-8, 8] in training, by the paper's code and by Gale et al.'s
EPSILON = 1e-8  # keeps log(theta^2) and the root of a variance finite (the code of Gale et al., arXiv 1902.09574)


def log_alpha(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """log sigma^2 - log theta^2 (equation 11), not clipped: what the threshold is compared with."""
    return log_sigma2 - torch.log(theta.square() + EPSILON)


def weight_variance(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """sigma^2 of every weight, within what the clipped log alpha allows: differentiable in both."""
    means = theta.square() + EPSILON
    limit = math.exp(LOG_ALPHA_LIMIT)
    return torch.clamp(log_sigma2.exp(), min=means / limit, max=means * limit)


def kl_divergence(clipped: Tensor) -> Tensor:
    """D_KL of each weight's posterior from the prior, by equation 14's approximation: 0 as alpha goes to infinity.

    Args:
        clipped: log alpha, within the limit.
    """
    return K1 - K1 * torch.sigmoid(K2 + K3 * clipped) + 0.5 * torch.nn.functional.softplus(-clipped)


def kl_gradients(theta: Tensor, log_sigma2: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of ``kl_divergence`` by theta and by log sigma^2, in closed form; 0 where log alpha is clipped."""
    rate = log_alpha(theta, log_sigma2)
    sigmoid = torch.sigmoid(K2 + K3 * rate)
    by_rate = -K1 * K3 * sigmoid * (1 - sigmoid) - 0.5 * torch.sigmoid(-rate)
    by_rate = by_rate.masked_fill_(rate.abs() > LOG_ALPHA_LIMIT, 0.0)
    return by_rate * (-2 * theta / (theta.square() + EPSILON)), by_rate
