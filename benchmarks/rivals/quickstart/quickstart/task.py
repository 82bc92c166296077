"""The network (62,006 parameters), and the work of a client."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Net(nn.Module):
    """The network: float32 [N, 3, 32, 32] to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = functional.relu(self.fc1(x.view(-1, 400)))
        return self.fc3(functional.relu(self.fc2(x)))


def load(file: str, split: str) -> tuple[Tensor, Tensor]:
    """Return a split's images, float32 [N, 3, 32, 32], and labels, int64 [N]."""
    data = torch.load(file, weights_only=True)
    return data[f"{split}_images"], data[f"{split}_labels"]


def train(
    net: Net, images: Tensor, labels: Tensor, batch_size: int, lr: float, momentum: float
) -> float:
    """Train for one epoch, in place; return the mean loss."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    total = 0.0
    for batch in torch.randperm(len(images)).split(batch_size):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(images)


@torch.no_grad()
def test(net: Net, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the mean loss, and the share of the images that are right."""
    net.eval()
    logits = net(images)
    right = (logits.argmax(1) == labels).float().mean()
    return functional.cross_entropy(logits, labels).item(), right.item()
