"""The formulas of sparse variational dropout (Molchanov, Ashukha, Vetrov, ICML 2017, arXiv 1701.05369).

Each weight is Gaussian, N(theta, sigma^2). Its dropout rate is alpha = sigma^2 / theta^2, and its prior is log-uniform.
All functions are pure and work element by element.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

K1, K2, K3 = 0.63576, 1.87320, 1.48695  # equation 14
LOG_ALPHA_LIMIT = 8.0  # training clips log alpha to [-8, 8], as the code of the paper and of Gale et al. does
EPSILON = 1e-8  # keeps log(theta^2) and the gradient of a square root finite (code of Gale et al., arXiv 1902.09574)


def log_alpha(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """Return log alpha = log sigma^2 - log theta^2 (equation 11), not clipped. Pruning compares this to a threshold."""
    return log_sigma2 - torch.log(theta.square() + EPSILON)


def weight_variance(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """Return sigma^2 of every weight, limited so that log alpha stays in [-8, 8]. Both arguments get gradients."""
    means = theta.square() + EPSILON
    limit = math.exp(LOG_ALPHA_LIMIT)
    return torch.clamp(log_sigma2.exp(), min=means / limit, max=means * limit)


def kl_divergence(clipped: Tensor) -> Tensor:
    """Return D_KL of each weight's posterior from the prior, by the approximation of equation 14.

    The divergence goes to 0 as alpha goes to infinity.

    Args:
        clipped: log alpha, clipped to the limit.
    """
    return K1 - K1 * torch.sigmoid(K2 + K3 * clipped) + 0.5 * torch.nn.functional.softplus(-clipped)


def kl_gradients(theta: Tensor, log_sigma2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of ``kl_divergence`` by theta and by log sigma^2; 0 where log alpha is clipped."""
    rate = log_alpha(theta, log_sigma2)
    sigmoid = torch.sigmoid(K2 + K3 * rate)
    by_rate = -K1 * K3 * sigmoid * (1 - sigmoid) - 0.5 * torch.sigmoid(-rate)
    by_rate = by_rate.masked_fill_(rate.abs() > LOG_ALPHA_LIMIT, 0.0)
    return by_rate * (-2 * theta / (theta.square() + EPSILON)), by_rate
