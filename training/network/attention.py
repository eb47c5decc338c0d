"""Attention in a ResNet: by channel and by context, after each block, and a last context mask.

The channel part is that of CBAM (Woo et al., ECCV 2018): with a, m the mean and the maximum of a
channel over all positions, each channel is multiplied by sigmoid(MLP(a) + MLP(m)). A context mask
looks at every position through windows of several sizes, as the contextual reweighting network
does (Kim, Dunn and Frahm, CVPR 2017), and multiplies it by
sigmoid(w . concat_k relu(conv_k(x))). After a block the windows look at the mean and the maximum
over the channels (CBAM), behind the last stage at all channels.

Cai et al. (ICCV 2019) put such parts into ResNet. Their counts of filters and how they join the
windows are not in what we have to go by: those are ours, and so is the name.
"""

from collections.abc import Sequence

import torch
from timm.layers.cbam import ChannelAttn
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from crossfix.errors import RecipeError
from training.recipe_network import ChannelContextAttention

ENDS = 2  # mean and maximum


class ContextMask(nn.Module):
    """Every position times a number in 0..1 that its surroundings decide.

    Args:
        channels: of the map.
        pooled: the windows see the channels' mean and maximum instead of all channels.
        kernels: sides of the windows, odd.
        filters: of each window.
    """

    def __init__(
        self, channels: int, *, pooled: bool, kernels: Sequence[int], filters: int
    ) -> None:
        super().__init__()
        self.pooled = pooled
        seen = ENDS if pooled else channels
        self.windows = nn.ModuleList(
            nn.Conv2d(seen, filters, kernel, padding=kernel // 2) for kernel in kernels
        )
        self.join = nn.Conv2d(filters * len(kernels), 1, 1)

    def mask(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, 1, h, w)."""
        seen = features
        if self.pooled:
            ends = features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)
            seen = torch.cat(ends, dim=1)
        answers = torch.cat([window(seen).relu() for window in self.windows], dim=1)
        found: Tensor = self.join(answers).sigmoid()
        return found

    def forward(self, features: Tensor) -> Tensor:
        """The map times its mask."""
        return features * self.mask(features)


class BlockAttention(nn.Module):
    """The channel part, then a context mask; of a block's output."""

    def __init__(self, channels: int, recipe: ChannelContextAttention) -> None:
        super().__init__()
        self.channel = ChannelAttn(channels, rd_ratio=1 / recipe.reduction)
        self.context = ContextMask(
            channels, pooled=True, kernels=recipe.kernels, filters=recipe.block_filters
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape."""
        found: Tensor = self.context(self.channel(features))
        return found


def attend_after_blocks(network: nn.Module, recipe: ChannelContextAttention, name: str) -> None:
    """Puts `BlockAttention` behind every residual block.

    Raises:
        RecipeError: the network has no residual blocks of ResNet's kind.
    """
    found = [
        (stage, key, block)
        for stage in network.modules()
        for key, block in stage.named_children()
        if isinstance(block, BasicBlock | Bottleneck)
    ]
    if not found:
        raise RecipeError(
            f"{name} has no residual blocks that attention could follow",
            hint="set model.attention to {kind: none}, or take a network such as resnet18",
        )
    for stage, key, block in found:
        last = block.conv2 if isinstance(block, BasicBlock) else block.conv3
        stage.add_module(key, nn.Sequential(block, BlockAttention(last.out_channels, recipe)))
