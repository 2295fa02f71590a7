"""Train the digits network: python -m rectexport.models.digits.train [--out models/checkpoints/digits.pt]."""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.models.checkpoint import save_checkpoint
from rectexport.models.digits.data import digits_split
from rectexport.models.registry import create_model

EPOCHS = 40
BATCH = 64
PEAK_RATE = 1e-2
EXAMPLES = 4


def shifted(images: Tensor) -> Tensor:
    """The batch shifted by -1, 0 or 1 pixels along each axis, filled with zeros. Keeps the shape [N, 1, H, W]."""
    height, width = images.shape[2:]
    row, column = torch.randint(0, 3, (2,)).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, row : row + height, column : column + width]


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int = EPOCHS) -> nn.Module:
    """AdamW on a one-cycle schedule with shifted images; leaves the model in eval mode."""
    steps = -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, epochs=epochs, steps_per_epoch=steps)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(shifted(images[batch])), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is their label."""
    return (model(images).argmax(1) == labels).float().mean().item()


def main(arguments: list[str] | None = None) -> None:
    """Train on two thirds of the digits, print the accuracy on the held-out third, write the checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m rectexport.models.digits.train", description=__doc__)
    parser.add_argument("--out", default="models/checkpoints/digits.pt", help="path of the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    torch.manual_seed(options.seed)
    data = digits_split()
    held_out = torch.from_numpy(data.held_out_images)
    model = create_model("digits")
    train(model, torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels), options.epochs)
    score = accuracy(model, held_out, torch.from_numpy(data.held_out_labels))
    labels = [str(digit) for digit in range(10)]
    save_checkpoint(options.out, "digits", {"num_classes": 10}, model, held_out[:EXAMPLES], labels=labels)
    seconds = time.perf_counter() - start
    print(f"{options.out}: {score:.2%} of {len(held_out)} held-out images, trained in {seconds:.0f} s")


if __name__ == "__main__":
    main()
