"""The line that shows how training goes: on a terminal it rewrites itself, in notebooks and pipes it is one line per epoch, not too often."""

import shutil
import sys
import time

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None


def figures(
    epoch: int, epochs: int, loss: float, accuracy: float | None, scores: list[str], lr: float, speed: float, left: float | None = None
) -> list[str]:
    """What there is to say; where there is no room, the last but one is what can be missed most."""
    words = [f"epoch {epoch:{len(str(epochs))}}/{epochs}", f"loss {loss:.4f}"]
    if accuracy is not None:
        words.append(f"accuracy {100 * accuracy:5.1f} %")
    words += scores
    words += [f"rate {lr:.2g}", f"{speed:7,.0f} images/s"]
    if left is not None:
        words.append(f"{int(left) // 60}:{int(left) % 60:02} left")
    return words


def others(record: dict) -> list[str]:
    """What an epoch's record says of other images than those of training, whose accuracy is called accuracy."""
    accuracies = {kind: record.get(f"{key}_accuracy") for kind, key in (("validation", "val"), ("test", "test"))}
    return [f"{kind} {100 * accuracy:5.1f} %" for kind, accuracy in accuracies.items() if accuracy is not None]


def fitted(words: list[str], width: int) -> str:
    """The words in a line of at most `width` characters, as far as that goes."""
    words = list(words)
    while len("  ".join(words)) > width and len(words) > 2:
        del words[-2]
    return "  ".join(words)


class Quiet:
    """Nothing is shown."""

    def __init__(self, epochs: int, images: int):
        self.epochs, self.images = epochs, images
        self.scores: list[str] = []  # of the last whole epoch
        self.start, self.before = time.perf_counter(), 0

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        pass

    def step(self, epoch: int, seen: int, loss: float, accuracy: float | None, lr: float) -> None:
        pass

    def epoch(self, record: dict) -> None:
        pass

    def speed(self, epoch: int, seen: int) -> tuple[float, float]:
        """Images per second since the first step, which may have had to compile, and the seconds that are left at that rate."""
        done = (epoch - 1) * self.images + seen
        if not self.before:
            self.start, self.before = time.perf_counter(), done
        speed = max(done - self.before, 1) / max(time.perf_counter() - self.start, 1e-3)
        return speed, (self.epochs * self.images - done) / speed


class Lines(Quiet):
    """One line per epoch, and one now and then in long ones."""

    EVERY = 1.9  # seconds

    def __enter__(self):
        self.last = time.perf_counter()
        return self

    def step(self, epoch, seen, loss, accuracy, lr):
        if not self.before:
            self.speed(epoch, seen)
        elif time.perf_counter() - self.last > self.EVERY and seen < self.images:
            self._print(epoch, seen, loss, accuracy, [], lr)

    def epoch(self, record):
        self._print(record["epoch"], self.images, record["loss"], record["accuracy"], others(record), record["rate"])

    def _print(self, epoch, seen, loss, accuracy, scores, lr):
        print("  ".join(figures(epoch, self.epochs, loss, accuracy, scores, lr, *self.speed(epoch, seen))), file=sys.stderr, flush=True)
        self.last = time.perf_counter()


class FewLines(Lines):
    """For who did not ask: one line per epoch, but of short epochs only one a second and the last, so that no log is flooded."""

    EVERY = 10.0
    EPOCHS_EVERY = 1.0

    def __enter__(self):
        self.unsaid = None
        return super().__enter__()

    def epoch(self, record):
        self.unsaid = record
        if time.perf_counter() - self.last > self.EPOCHS_EVERY:
            self._say()

    def __exit__(self, *error):
        if self.unsaid is not None:
            self._say()

    def _say(self):
        super().epoch(self.unsaid)
        self.unsaid = None


class Rewritten(Lines):
    """One line that rewrites itself ten times a second; the scores in it are those of the last whole epoch."""

    EVERY = 0.1

    def __exit__(self, *error):
        print(file=sys.stderr)

    def _print(self, epoch, seen, loss, accuracy, scores, lr):
        self.scores = scores or self.scores
        width = shutil.get_terminal_size().columns - 1  # one more and the line would wrap
        line = fitted(figures(epoch, self.epochs, loss, accuracy, self.scores, lr, *self.speed(epoch, seen)), width)
        print("\r" + line.ljust(width), end="", file=sys.stderr, flush=True)
        self.last = time.perf_counter()


class Bar(Quiet):
    """tqdm's bar over all images."""

    def __enter__(self):
        self.bar = tqdm(total=self.epochs * self.images, unit=" images", unit_scale=True)
        return self

    def __exit__(self, *error):
        self.bar.close()

    def step(self, epoch, seen, loss, accuracy, lr):
        self._describe(epoch, loss, accuracy, lr, self.speed(epoch, seen)[0])
        self.bar.update((epoch - 1) * self.images + seen - self.bar.n)

    def epoch(self, record):
        self.scores = others(record)
        self._describe(record["epoch"], record["loss"], record["accuracy"], record["rate"], self.speed(record["epoch"], self.images)[0])
        self.bar.refresh()

    def _describe(self, epoch, loss, accuracy, lr, speed):
        """But for the speed, which the bar shows itself."""
        self.bar.set_description("  ".join(figures(epoch, self.epochs, loss, accuracy, self.scores, lr, speed)[:-1]), refresh=False)


def reporter(epochs: int, images: int, wanted: bool | None) -> Quiet:
    """What shows the progress; without stderr, as under pythonw, nothing can."""
    if wanted is False or sys.stderr is None:
        return Quiet(epochs, images)
    if not sys.stderr.isatty():
        return (Lines if wanted else FewLines)(epochs, images)
    return (Bar if tqdm is not None else Rewritten)(epochs, images)
