"""Grad-CAM (Selvaraju et al. 2017): where in the image the evidence for a finding came from.

The gradient is taken from the finding's logit to the last feature map only. The network keeps features and head
apart, so that map is a leaf of the graph: the cost is one forward pass plus the head, and no hook is left behind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .network import FindingNet


def grad_cam(net: FindingNet, images: Tensor, finding: int) -> Tensor:
    """(B,1,S,S) -> (B,h,w) in [0,1], each image's maximum 1 (all 0 where nothing speaks for the finding).

    The network's mode, parameters and gradients are left as they were.
    """
    with torch.no_grad():
        features = net.read(net.features(images))
    with torch.enable_grad():
        leaf = features.detach().requires_grad_(True)
        logits = net.head(leaf).logits[:, finding]
        # Each image's logit depends on its own features alone, so the gradient of the sum holds every image's own.
        (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    channel_weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (channel_weights * features).sum(dim=1).clamp_min(0.0)
    peak = cam.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0.0, cam / peak.clamp_min(1e-30), torch.zeros_like(cam))
