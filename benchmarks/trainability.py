"""Train pairs of networks that differ in one of the four ideas, on scikit-learn's digits with several seeds.

python -m benchmarks.trainability [--seeds 6] [--epochs 20] [--workers 2] [--out docs] [--report]

Writes trainability.json (every run), trainability.md (mean and standard deviation over seeds) and trainability.svg.
For one seed, every network gets the same images in the same order: the two of a pair are also compared seed by seed.
`--report` trains nothing, and writes page and plot anew from trainability.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plotting import COLOURS, GRID, QUIET, new_figure, save_svg, set_title
from rectexport.models.digits.data import digits_split
from rectexport.models.registry import create_model
from rectexport.models.tools.count import parameters

BATCH = 64
RATE = 3e-3
DECAY = 0.05
EVEN = {"stem": (3, 32), "maxpool": False, "blocks": (2, 2), "widths": (64, 128)}
SMALL = {"convs": (4, 4, 4), "width": 0.5}


@dataclass(frozen=True)
class Contender:
    """A network of the zoo under the name that the table gives it; side is the smallest multiple of 8 it takes."""

    label: str
    model: str
    options: dict[str, Any]
    side: int = 8


@dataclass(frozen=True)
class Twins:
    """Two networks that differ in one idea."""

    idea: str
    base: Contender
    variant: Contender


TWINS = (
    Twins(
        "proportional",
        Contender("plain, 1:1", "plain38", SMALL),
        Contender("plain, 2:1", "plain38_2to1", SMALL),
    ),
    Twins(
        "CReLU",
        Contender("VGG, ReLU", "vgg13conv_relu", {"width": 0.125}, 32),
        Contender("VGG, CReLU in three layers", "vgg13conv_crelu1_3_5_half", {"width": 0.125}, 32),
    ),
    Twins(
        "rectified",
        Contender("ResNet, zero-padded", "resnet20", {"blocks": 1}),
        Contender("ResNet, rectified", "resnet20", {"blocks": 1, "conv": "rectified"}),
    ),
    Twins(
        "C2sp",
        Contender("pre-activation ResNet, 3x3", "c3_resnet50_0_5x", EVEN),
        Contender("pre-activation ResNet, C2sp", "c2sp_resnet50_0_5x", EVEN),
    ),
)


@dataclass(frozen=True)
class Run:
    """Result of one training: error on the held-out images, mean loss of the last epoch, seconds."""

    error: float
    loss: float
    seconds: float


def images_of(array: Any, side: int) -> Tensor:
    """Grey images [N, 1, 8, 8] as three equal channels [N, 3, side, side], enlarged by repeating pixels."""
    return F.interpolate(torch.from_numpy(array), size=(side, side)).expand(-1, 3, -1, -1).contiguous()


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, generator: torch.Generator) -> float:
    """AdamW on a one-cycle schedule; the mean loss of the last epoch."""
    steps = -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs=epochs, steps_per_epoch=steps)
    model.train()
    losses: list[float] = []
    for _ in range(epochs):
        losses = []
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return statistics.fmean(losses)


def run(contender: Contender, seed: int, epochs: int) -> Run:
    """Train one network; the seed sets its weights and the order of images."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    data = digits_split()
    torch.manual_seed(seed)
    model = create_model(contender.model, 10, **contender.options)
    order = torch.Generator().manual_seed(seed)
    loss = train(
        model, images_of(data.train_images, contender.side), torch.from_numpy(data.train_labels), epochs, order
    )
    with torch.no_grad():
        guesses = model.eval()(images_of(data.held_out_images, contender.side)).argmax(1)
    wrong = (guesses != torch.from_numpy(data.held_out_labels)).float().mean().item()
    return Run(100 * wrong, loss, time.perf_counter() - start)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.2f} ± {deviation:.2f}"


def table(results: dict[str, list[Run]], epochs: int, seconds: float) -> str:
    """The page: protocol, then one row per network; the difference is the variant's error minus the base's."""
    seeds = len(next(iter(results.values())))
    lines = [
        "# Training the four ideas",
        "",
        f"`python -m benchmarks.trainability --seeds {seeds} --epochs {epochs}` ({seconds / 60:.1f} minutes)",
        "",
        "scikit-learn's digits: 1198 images to train on, 599 held out, the same for all. One protocol for every",
        f"network: AdamW, peak rate {RATE}, weight decay {DECAY}, one-cycle schedule, batch {BATCH}, {epochs} epochs,",
        f"no augmentation. Mean ± standard deviation over {seeds} seeds; a seed sets the initial weights and the order",
        "of images. VGG gets the images enlarged to 32x32. The difference is computed for each seed as variant minus",
        "base: it is negative if the variant has the smaller error.",
        "",
        "| idea | network | parameters | held-out error % | difference | last training loss |",
        "|---|---|---|---|---|---|",
    ]
    for twins in TWINS:
        for contender in (twins.base, twins.variant):
            runs = results[contender.label]
            size = parameters(create_model(contender.model, 10, **contender.options))
            pairs = zip(runs, results[twins.base.label], strict=True)
            difference = "" if contender is twins.base else spread([a.error - b.error for a, b in pairs])
            row = (twins.idea, contender.label, f"{size:,}", spread([r.error for r in runs]), difference)
            lines.append(f"| {' | '.join(row)} | {statistics.fmean(r.loss for r in runs):.4f} |")
    differences = {
        twins.idea: [
            a.error - b.error for a, b in zip(results[twins.variant.label], results[twins.base.label], strict=True)
        ]
        for twins in TWINS
    }
    said = findings({idea: (statistics.fmean(d), statistics.stdev(d)) for idea, d in differences.items()}, seeds)
    return "\n".join([*lines, "", "![errors of every run](trainability.svg)", "", SEEN, "", said])


#: Quantiles of Student's t for a 95 % interval of a mean of so many values.
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
READS = {
    -1: "**fewer errors** with the idea; the whole interval is below 0",
    0: "**no difference shown**; the interval contains 0",
    1: "**more errors** with the idea; the whole interval is above 0",
}
MEANING = """## What it means

These trainings show that each idea trains as any layer does, by the usual recipe, and what can be expected of it on a
task this small. They do not repeat the papers, whose networks and images are far larger: a rectified border, for
example, matters where objects touch the image's edge, and digits lie in the middle.

- A result holds for these networks on these images. Take an idea because the network that you want has it, or because
  a trial on your own data shows that it helps.
- The networks with CReLU and with C2sp have fewer parameters than those that they are compared with.
- Networks with and without an idea need their own training. `rectify` and `plain` change a network that is trained
  already, and its accuracy with it: measure it with `rectexport eval`.
- The intervals are over seeds alone. All runs share one split of the data, in which one image is 0.17 points, and four
  comparisons at 95 % are not one at 95 %."""


def interval(mean: float, deviation: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a mean, by Student's t."""
    half = STUDENT[count] * deviation / count**0.5
    return mean - half, mean + half


def findings(differences: Mapping[str, tuple[float, float]], seeds: int) -> str:
    """In words: mean and standard deviation of each idea's difference over the seeds, and what it means."""
    head = "Difference of the held-out error in points, variant minus base, with a 95 % interval:"
    lines = ["## What came out", "", head, ""]
    for idea, (mean, deviation) in differences.items():
        low, high = interval(mean, deviation, seeds)
        side = 1 if low > 0 else -1 if high < 0 else 0
        lines.append(f"- {idea}: {mean:+.2f} ({low:+.2f} to {high:+.2f}): {READS[side]}.")
    return "\n".join([*lines, "", MEANING, ""])


#: What is to be seen in the plot.
SEEN = (
    "A panel for each idea: the network without it at the left, with it at the right. A grey line joins the two runs\n"
    "of one seed; squares are means with one standard deviation."
)


def plot(results: dict[str, list[Run]], path: Path) -> None:
    """Plot the error of every run, with mean ± standard deviation beside it."""
    figure, panels = new_figure(1, len(TWINS), (9.5, 3.2), sharey=True)
    for axes, twins in zip(panels[0], TWINS, strict=True):
        errors = [[r.error for r in results[c.label]] for c in (twins.base, twins.variant)]
        for pair in zip(*errors, strict=True):
            axes.plot((0, 1), pair, color=GRID, marker="o", markersize=3, markerfacecolor=QUIET, linewidth=1, zorder=1)
        for place, (values, colour) in enumerate(zip(errors, (QUIET, COLOURS[0]), strict=True)):
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            at = place + (0.15 if place else -0.15)
            axes.errorbar(at, statistics.fmean(values), deviation, fmt="s", color=colour, capsize=4, zorder=2)
        set_title(axes, twins.idea)
        axes.set(xlim=(-0.5, 1.5), xticks=(0, 1))
        axes.set_xticklabels([c.label.split(", ", 1)[1].replace(" in ", "\nin ") for c in (twins.base, twins.variant)])
    panels[0, 0].set_ylabel("held-out error, %")
    panels[0, 0].set_ylim(bottom=0)
    save_svg(figure, path)


def write(document: Mapping[str, Any], out: Path) -> None:
    """Write page and plot of the runs in a document of trainability.json."""
    results = {label: [Run(**entry) for entry in runs] for label, runs in document["runs"].items()}
    page = table(results, document["epochs"], document["seconds"])
    (out / "trainability.md").write_text(page, encoding="utf-8")
    plot(results, out / "trainability.svg")
    print(page)


def main() -> None:
    """Train every contender with every seed, print each, write the page and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    kept = options.out / "trainability.json"
    if options.report:
        write(json.loads(kept.read_text(encoding="utf-8")), options.out)
        return
    start = time.perf_counter()
    contenders = [contender for twins in TWINS for contender in (twins.base, twins.variant)]
    results: dict[str, list[Run]] = {contender.label: [] for contender in contenders}
    jobs = list(product(contenders, range(options.seeds)))
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run, contender, seed, options.epochs) for contender, seed in jobs]
        for (contender, seed), future in zip(jobs, futures, strict=True):
            done = future.result()
            results[contender.label].append(done)
            print(f"{contender.label}, seed {seed}: {done.error:.2f} % wrong, {done.seconds:.1f} s", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    runs = {label: [asdict(one) for one in found] for label, found in results.items()}
    document = {"epochs": options.epochs, "seconds": time.perf_counter() - start, "runs": runs}
    kept.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write(document, options.out)


if __name__ == "__main__":
    main()
