"""AlexNet's convolutions, which timm does not have (Krizhevsky 2014, arXiv:1404.5997)."""

from typing import Any

from torch import Tensor, nn

WIDTH = 256


class AlexNet(nn.Module):
    """Images to (N, 256, h, w), at 1/32 of their size; the linear layers are left out.

    Layers are numbered as in torchvision, so that its weights fit.

    Attributes:
        num_features: channels of the output.
    """

    num_features = WIDTH

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, WIDTH, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, h, w) to a map of features."""
        found: Tensor = self.features(images)
        return found

    def take_imagenet_weights(self) -> None:
        """Those of torchvision, downloaded once.

        Raises:
            ImportError, OSError: torchvision is not there, or the weights cannot be had.
            RuntimeError: the first layer has other channels.
        """
        from torchvision.models import AlexNet_Weights  # type: ignore[import-untyped]

        state: dict[str, Any] = AlexNet_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True)
        self.load_state_dict({k: v for k, v in state.items() if k.startswith("features.")})
