r"""
QKL against the plain sampled KL
================================

Both estimate :math:`D_{KL}(\tilde\pi \| \pi_\theta)` from log-probabilities of sampled actions alone. With the
log-ratio :math:`\ell = \log\pi_\theta - \log\tilde\pi`, the plain estimate averages :math:`-\ell`, the quadratic one
:math:`\frac12 \ell^2` (Proposition 1). Proposition 2: while :math:`|\ell| \le 0.5` the quadratic one varies less.
"""

import matplotlib.pyplot as plt
import torch
from tensordict import TensorDict
from torchrl.envs import ExplorationType, set_exploration_type

from torchrl_htrpo import KLLoss, QKLLoss, SampledKLLoss, make_actor
from torchrl_htrpo.modules import GaussianHead

torch.manual_seed(0)

# %%
# A policy, its samples, and policies near it
# -------------------------------------------
# 4000 rows; the parameters are moved along one random direction, farther and farther.
actor = make_actor(GaussianHead(4), 13, (64, 64))
batch = TensorDict(observation=torch.randn(4000, 10), desired_goal=torch.randn(4000, 3), batch_size=[4000])
with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
    batch = actor(batch)
losses = {"closed form": KLLoss(actor), "QKL": QKLLoss(actor), "plain sampled KL": SampledKLLoss(actor)}
old = losses["QKL"].trainable_params.data.clone()
direction = old.apply(torch.randn_like)
scales = torch.logspace(-3, -1.3, 12)

# %%
# Estimates, and the spread of a single row
# -----------------------------------------
mean, spread = {name: [] for name in losses}, {name: [] for name in losses}
with torch.no_grad():
    for scale in scales:
        near = old.apply(lambda p, d, s=scale: p + s * d, direction)
        for name, loss in losses.items():
            _, divergence = loss.rows(batch, near)
            mean[name].append(divergence.mean())
            spread[name].append(divergence.std())

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for name in losses:
    style = {"color": "black", "ls": ":", "lw": 3} if name == "closed form" else {"marker": "."}
    left.plot(mean["closed form"], mean[name], label=name, **style)
for name in ("QKL", "plain sampled KL"):
    right.plot(mean["closed form"], spread[name], marker=".", label=name)
left.set(title="estimate from 4000 rows", ylabel="nats")
right.set(title="standard deviation of one row", ylabel="nats")
for axis in (left, right):
    axis.set(xscale="log", yscale="log", xlabel="closed-form KL [nats]")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
plt.show()

# %%
# Where the plain estimate leaves the picture it is negative: from so few rows it cannot hold a small trust region.
# At a trust-region step of about 0.002 nats one row of QKL spreads this many times less:
at = min(range(len(scales)), key=lambda i: abs(mean["closed form"][i] - 0.002))
(spread["plain sampled KL"][at] / spread["QKL"][at]).item()
