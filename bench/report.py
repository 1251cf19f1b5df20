"""What was measured, as text: lines for the terminal, Markdown with every row, a picture, the README's summary."""

import io
import platform
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from bench.layer import PASSES
from bench.peers import PEERS
from bench.rows import COMPILED, UNSEEN, CompileTimes, Row
from bench.timing import NOISY, geometric_mean
from fastconv.files import write_whole

MARKERS = "<!-- bench-summary -->", "<!-- /bench-summary -->"
PASS_WORDS = {"forward": "forward", "input_grad": "input gradient", "weight_grad": "weight gradient"}
LABELS = {"ours": "fastconv", **{peer: kind.label for peer, kind in PEERS.items()}}
COLOURS = {"ours": "#2166ac", "nchw": "#c0504d", "channels_last": "#e39a6b", "im2col": "0.6"}


class Machine(NamedTuple):
    """What the numbers belong to."""

    cpu: str
    lanes: str
    threads: int
    versions: list[str]  # of those who computed
    peaks: dict[int, float]  # GFLOP/s by threads

    def lines(self) -> list[str]:
        below = f"Python {platform.python_version()}, Numba {numba.__version__}, NumPy {np.__version__}, {platform.system()}"
        peaks = ", ".join(f"{peak:.0f} on {_count(n, 'thread')}" for n, peak in self.peaks.items())
        return [
            f"- {self.cpu}, {self.lanes} numbers a vector, {_count(self.threads, 'thread')}",
            f"- {', '.join(self.versions)}; {below}",
            f"- FMA peak in float32, measured in the same run: {peaks} (GFLOP/s)",
        ]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _ratio(row: Row) -> str:
    if row.torch is None:
        return "–"
    return f"**{row.torch.ratio:.2f} ▼**" if row.loses else f"{row.torch.ratio:.2f}"


def _spread(row: Row) -> str:
    spread = (row.torch or row.against["peak"]).spread
    return f"{spread:.0%}" + (" noisy" if spread > NOISY else "")


def line(row: Row) -> str:
    """For the terminal, while it runs."""
    theirs = "  ".join(f"{peer} {pairs.rate:.0f}" for peer, pairs in row.against.items() if peer != "peak")
    ratio = _ratio(row).replace("*", "").replace("▼", "slower")
    return f"{row.layer.line:24} {row.name:11} {row.rate:5.0f} GFLOP/s {row.share:4.0%} of peak  {theirs}  x{ratio}, spread {_spread(row)}"


def markdown_table(head: list[str], rows: list[list[str]], texts: int = 1) -> list[str]:
    """The first columns are text, all others numbers."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * texts + ["---:"] * (len(head) - texts), *rows)]


def speeds(rows: list[Row]) -> list[str]:
    peers = [peer for peer in PEERS if any(peer in row.against for row in rows)]
    head = ["n ic ih oc k s p", "pass", "algorithm", "fastconv", "of peak", *(LABELS[peer] for peer in peers), "x PyTorch", "spread"]
    body = []
    for row in rows:
        theirs = [f"{row.against[peer].rate:.0f}" if peer in row.against else "–" for peer in peers]
        body.append([row.layer.line, PASS_WORDS[row.name], row.algorithm, f"{row.rate:.0f}", f"{row.share:.0%}", *theirs, _ratio(row), _spread(row)])
    return markdown_table(head, body, texts=3)


def means(rows: list[Row]) -> list[str]:
    """Per pass and over all: geometric means of our speed over each peer's, and how often PyTorch is faster."""
    peers = [peer for peer in PEERS if any(peer in row.against for row in rows)]
    torch = any(row.torch for row in rows)
    head = [
        "geometric means",
        *(f"x {LABELS[peer]}" for peer in peers),
        *(["x the better PyTorch", "least", "slower"] if torch else []),
        "of peak, median",
    ]
    body = []
    for name, group in by_pass(rows):
        cells = []
        for peer in peers:
            cells.append(f"{geometric_mean(row.against[peer].ratio for row in group if peer in row.against):.2f}")
        if torch:
            ratios = [row.torch.ratio for row in group if row.torch]
            cells += [f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}", f"{sum(row.loses for row in group)} of {len(ratios)}"]
        body.append([name, *cells, f"{np.median([row.share for row in group]):.0%}"])
    return markdown_table(head, body)


def by_pass(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    groups = [(PASS_WORDS[name], [row for row in rows if row.name == name]) for name in PASSES]
    return [(name, group) for name, group in (*groups, ("all", rows)) if group]


def memory(rows: list[Row]) -> list[str]:
    who = [peer for peer in LABELS if any(peer in row.memory for row in rows)]

    def cell(found: int | None) -> str:
        return "–" if found is None else f"{found / 1e6:.1f}"

    body = [[row.layer.line, PASS_WORDS[row.name], *(cell(row.memory.get(peer)) for peer in who)] for row in rows if row.memory]
    return markdown_table(["n ic ih oc k s p", "pass", *(LABELS[peer] for peer in who)], body, texts=2)


def compile_times(times: CompileTimes) -> list[str]:
    body = [[PASS_WORDS[first.name], f"{first.empty:.1f} s", f"{first.kept:.2f} s", f"{1e3 * first.unseen:.1f} ms"] for first in times.first]
    table = markdown_table(["first call", "nothing compiled", "compiled before, new process", "another layer, never seen"], body)
    return [*table, "", f"All that a float32 convolution may need, every tile and pass: {times.every:.0f} s."]


def markdown(title: str, machine: Machine, rows: list[Row], times: CompileTimes | None, picture: str | None) -> str:
    """The whole report of one file of shapes."""
    lost = [row for row in rows if row.loses]
    parts = [
        [f"# Convolution passes: {title}", "", *machine.lines()],
        [
            "GFLOP/s count 2 * N * OH * OW * OC * IC/G * KH * KW for each pass, whatever is really multiplied. Every peer runs in its own process,",
            "in turns with fastconv; a ratio is the median over the pairs (above 1: fastconv is faster), the spread is the width of their middle",
            "half. Packing weights, allocating results, the bias and its gradient are inside, for everybody; compiling is not. All results were",
            "checked first. ▼ marks the rows in which the better of PyTorch's layouts is faster.",
        ],
        *([[f"![GFLOP/s of each layer and pass]({picture})"]] if picture else []),
        means(rows),
        speeds(rows),
    ]
    if lost:
        parts.append(["Slower than PyTorch: " + "; ".join(f"{row.layer.line}, {PASS_WORDS[row.name]} ({row.torch.ratio:.2f})" for row in lost) + "."])
    if any(row.memory for row in rows):
        parts += [
            ["## Extra memory, MB"],
            [
                "The peak of the process's resident memory during one call, beyond operands and results, in a fresh process per layer after a call",
                "with one image. Good to about 0.1 MB.",
            ],
            memory(rows),
        ]
    if times:
        parts += [
            ["## Compile time"],
            [f"fastconv, layer {COMPILED}, then {UNSEEN}. Each pass starts with an empty kernel cache."],
            compile_times(times),
        ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def summary(machine: Machine, reports: dict[str, list[Row]]) -> str:
    """For the README: a few rows, the losses among them. Reports: rows by the name of their file of shapes."""
    body = []
    for title, rows in reports.items():
        for name, group in by_pass([row for row in rows if row.torch]):
            ratios = [row.torch.ratio for row in group]
            cells = [f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}", f"{sum(row.loses for row in group)} of {len(group)}"]
            body.append([f"{title}: {name}", *cells, f"{np.median([row.share for row in group]):.0%}"])
    torch = next(version for version in machine.versions if version.startswith("PyTorch"))
    worst = min((row for rows in reports.values() for row in rows if row.torch), key=lambda row: row.torch.ratio)
    text = (
        f"Measured on {machine.cpu}, {_count(machine.threads, 'thread')}, against the better of {torch}'s two layouts for each layer. Above 1:\n"
        f"fastconv is faster. The worst row is {worst.torch.ratio:.2f}: `{worst.layer.line}`, {PASS_WORDS[worst.name]}. Every row, extra memory\n"
        "and compile times: [bench/results](bench/results)."
    )
    head = ["layers: pass", "times PyTorch's speed, geometric mean", "from, to", "slower", "share of the FMA peak, median"]
    return text + "\n\n" + "\n".join(markdown_table(head, body))


def between_markers(text: str, content: str) -> str:
    """The text with what stands between its two markers replaced. ValueError where they are not there, once each and in order."""
    begin, end = MARKERS
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"README.md: expected one {begin} and, behind it, one {end}")
    return text[: text.index(begin) + len(begin)] + "\n" + content + "\n" + text[text.index(end) :]


def draw(path: Path, rows: list[Row]) -> None:
    """A panel per pass, a line per layer, a dot for each who computes it; the FMA peak of that hour as a tick."""
    import matplotlib
    from matplotlib.figure import Figure

    lines = list(dict.fromkeys(row.layer.line for row in rows))
    passes = [name for name in PASSES if any(row.name == name for row in rows)]
    figure = Figure(figsize=(3 + 2.6 * len(passes), 1.4 + 0.28 * len(lines)), layout="constrained")
    panels = figure.subplots(1, len(passes), sharey=True, sharex=True, squeeze=False)[0]
    for ax, name in zip(panels, passes):
        for row in (row for row in rows if row.name == name):
            y = lines.index(row.layer.line)
            rates = {peer: row.against[peer].rate for peer in PEERS if peer in row.against} | {"ours": row.rate}
            ax.plot([min(rates.values()), max(rates.values())], [y, y], color="0.85", linewidth=1, zorder=1)
            for peer, rate in rates.items():
                ax.plot(rate, y, "o", color=COLOURS[peer], markersize=7 if peer == "ours" else 5, zorder=3 if peer == "ours" else 2)
            ax.plot(row.against["peak"].rate, y, "|", color="0.15", markersize=10)
        ax.set_title(PASS_WORDS[name], fontsize=10)
        ax.grid(axis="x", color="0.93")
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(lines)), lines, family="monospace", fontsize=8)
    panels[0].set_ylim(len(lines) - 0.5, -0.5)
    panels[0].set_xlim(left=0)
    panels[0].set_title("n ic ih oc k s p", loc="left", x=-0.02, ha="right", fontsize=8, family="monospace")
    figure.supxlabel("GFLOP/s", fontsize=9)
    who = [peer for peer in LABELS if peer == "ours" or any(peer in row.against for row in rows)]
    handles = [matplotlib.lines.Line2D([], [], marker="o", linestyle="", color=COLOURS[peer], label=LABELS[peer]) for peer in who]
    handles.append(matplotlib.lines.Line2D([], [], marker="|", linestyle="", color="0.15", markersize=10, label="FMA peak"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none"}):  # the same picture, the same bytes; letters stay text
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    write_whole(path, content.getvalue())
