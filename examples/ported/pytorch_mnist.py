"""LeNet on MNIST, ported from a PyTorch script: `originals/pytorch_mnist.py`. 35 of 72 lines are edited.

The class is the same. The loop takes the way back from `forward`, and there are no devices.

    python examples/ported/pytorch_mnist.py --data FOLDER
"""

import argparse

import fastconv as fc
from fastconv import data, losses, optim
from fastconv import functional as F
from fastconv import layers as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, 16 * 5 * 5)
        x = F.relu(self.fc1(x))
        x = self.dropout(x)
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def train(model, loader, optimizer, epoch):
    for batch, (images, labels) in enumerate(loader):
        optimizer.zero_grad()
        scores, backward = model.forward(images)
        loss, d_scores = losses.cross_entropy(scores, labels)
        backward(d_scores, input_grad=False)
        optimizer.step()
        if batch % 100 == 0:
            print(f"epoch {epoch} batch {batch} of {len(loader)}: loss {loss:.4f}")


def test(model, loader):
    right, seen = 0, 0
    for images, labels in loader:
        scores = model(images)
        right += (scores.argmax(axis=1) == labels).sum().item()
        seen += len(labels)
    print(f"test accuracy {100 * right / seen:.2f} %")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="data")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--save", default="lenet.npz")
    args = parser.parse_args()

    fc.seed(0)
    train_set, test_set = data.mnist(args.data)
    train_loader = data.Batches(*train_set, batch_size=args.batch_size, shuffle=True)
    test_loader = data.Batches(*test_set, batch_size=1000)

    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    scheduler = optim.Step(optimizer, step_size=1, gamma=0.7)
    for epoch in range(1, args.epochs + 1):
        train(model, train_loader, optimizer, epoch)
        test(model, test_loader)
        scheduler.step()
    fc.save(model, args.save)


if __name__ == "__main__":
    main()
