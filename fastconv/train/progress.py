"""What is seen of training while it goes on: a line for each epoch, and until it is there a bar, on terminals and in notebooks."""

import math
import re
import shutil
import sys
import time

from fastconv.train.history import told_loss

BAR = 20  # characters


def told(record: dict, epochs: int, seconds: float | None = None) -> list[str]:
    """An epoch's numbers in words."""
    words = [f"epoch {record['epoch']:{len(str(epochs))}}/{epochs}"]
    for kind in ("", "val_", "test_"):
        loss, accuracy = record.get(f"{kind}loss"), record.get(f"{kind}accuracy", math.nan)
        words += [] if loss is None else [f"{kind}loss {told_loss(loss)}"]
        words += [] if math.isnan(accuracy) else [f"{kind}accuracy {100 * accuracy:4.1f} %"]
    return words + [f"rate {record['rate']:.2g}"] + ([] if seconds is None else [clock(seconds)])


def clock(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 59.95 else f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def fitted(words: list[str], width: int) -> str:
    """The words in a line of at most `width` characters, as far as that goes: the last but one is what can be missed most."""
    words = list(words)
    while len("  ".join(words)) > width and len(words) > 2:
        del words[-2]
    return "  ".join(words)


def brief(line: str) -> str:
    """An epoch's line for a terminal of 80 columns."""
    line = re.sub(r"(loss \d+\.\d{3})\d", r"\1", line)
    return line.replace("epoch ", "").replace("rate ", "").replace(" %", "%").replace("  ", " ")


class Quiet:
    """Nothing is shown. images: of an epoch, 0 where that is not known yet."""

    def __init__(self, epochs: int, images: int):
        self.epochs, self.images = epochs, images

    def __enter__(self):
        self.start = self.began = self.last = time.perf_counter()
        self.before = 0  # images when the clock was started
        return self

    def __exit__(self, *error) -> None:
        pass

    def print(self, line: str) -> None:
        pass

    def step(self, epoch: int, seen: int, loss: float, accuracy: float, rate: float) -> None:
        pass

    def epoch(self, record: dict) -> None:
        pass

    def left(self, epoch: int, seen: int) -> str:
        """The time that is left at the speed since the first step, which may have had to compile."""
        done = (epoch - 1) * self.images + seen
        if not self.before:
            self.start, self.before = time.perf_counter(), done
        speed = max(done - self.before, 1) / max(time.perf_counter() - self.start, 1e-3)
        left = int((self.epochs * self.images - done) / speed)
        return f"{left // 60}:{left % 60:02} left"


class Lines(Quiet):
    """A line for each epoch."""

    def epoch(self, record):
        now = time.perf_counter()
        self.print("  ".join(told(record, self.epochs, now - self.began)))
        self.began = self.last = now

    def print(self, line: str) -> None:
        print(line, file=sys.stdout if _in_notebook() else sys.stderr, flush=True)  # a notebook's stderr is red


class Watched(Lines):
    """Also a line now and then in long epochs."""

    EVERY = 10.0  # seconds

    def step(self, epoch, seen, loss, accuracy, rate):
        if not self.before:
            self.left(epoch, seen)
        elif time.perf_counter() - self.last > self.EVERY and seen < self.images:
            record = {"epoch": epoch, "loss": loss, "accuracy": accuracy, "rate": rate}
            self.show(told(record, self.epochs), seen / self.images, self.left(epoch, seen))
            self.last = time.perf_counter()

    def show(self, words: list[str], share: float, left: str) -> None:
        self.print("  ".join([*words[:1], f"{share:.0%}", *words[1:], left]))


class Live(Watched):
    """A bar that rewrites itself ten times a second, and then is the epoch's line."""

    EVERY = 0.1

    def __enter__(self):
        self.open = False  # the line that the cursor is in
        return super().__enter__()

    def __exit__(self, *error):
        if self.open:
            print(file=sys.stderr)

    def show(self, words, share, left):
        width = shutil.get_terminal_size().columns - 1  # one more and the line would wrap
        bar = f"[{'=' * int(BAR * share):{BAR}}]"
        line = fitted([*words[:1], bar, *words[1:-1], left], width)
        print("\r" + line.ljust(width), end="", file=sys.stderr, flush=True)
        self.open = True

    def print(self, line):
        width = shutil.get_terminal_size().columns - 1
        line = line if len(line) <= width else brief(line)
        print("\r" + line.ljust(width) if self.open else line, file=sys.stderr, flush=True)
        self.open = False


class Notebook(Lines):
    """tqdm's bar over all images, and the lines above it."""

    def __enter__(self):
        self.bar = _notebook_bar()(total=self.epochs * self.images or None, unit=" images", unit_scale=True, leave=False)
        return super().__enter__()

    def __exit__(self, *error):
        self.bar.close()

    def step(self, epoch, seen, loss, accuracy, rate):
        if time.perf_counter() - self.last < 0.2 and seen < self.images:
            return
        self.last = time.perf_counter()
        words = told({"epoch": epoch, "loss": loss, "accuracy": accuracy, "rate": rate}, self.epochs)
        self.bar.set_description("  ".join(words[:-1]), refresh=False)
        self.bar.update((epoch - 1) * self.images + seen - self.bar.n)


def _in_notebook() -> bool:
    """Whether an IPython kernel runs this, as in Jupyter."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def _notebook_bar():
    """tqdm's bar made of widgets; None where these are not installed."""
    try:
        from tqdm import notebook
    except ImportError:
        return None
    return notebook.tqdm if notebook.IProgress is not None else None


def reporter(epochs: int, images: int, verbose: int) -> Quiet:
    """What shows the progress, as `fit` is told; without stderr, as under pythonw, nothing can."""
    if verbose == 0 or sys.stderr is None:
        kind = Quiet
    elif verbose == 2:
        kind = Lines
    elif _in_notebook():
        kind = Notebook if _notebook_bar() else Watched
    else:
        kind = Live if sys.stderr.isatty() else Watched
    return kind(epochs, images)
