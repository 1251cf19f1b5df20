"""The line that shows how training goes: on a terminal it rewrites itself, in notebooks and pipes it is one line per epoch, not too often."""

import sys
import time

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None


def figures(epoch: int, epochs: int, loss: float, accuracy: float | None, speed: float, left: float | None = None) -> str:
    words = [f"epoch {epoch:{len(str(epochs))}}/{epochs}", f"loss {loss:.4f}"]
    if accuracy is not None:
        words.append(f"accuracy {100 * accuracy:5.1f} %")
    words.append(f"{speed:7,.0f} images/s")
    if left is not None:
        words.append(f"{int(left) // 60}:{int(left) % 60:02} left")
    return "  ".join(words)


class Quiet:
    """Nothing is shown."""

    def __init__(self, epochs: int, images: int):
        self.epochs, self.images = epochs, images
        self.start, self.before = time.perf_counter(), 0

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        pass

    def step(self, epoch: int, seen: int, loss: float, accuracy: float | None) -> None:
        pass

    def epoch(self, record: dict) -> None:
        pass

    def rate(self, epoch: int, seen: int) -> tuple[float, float]:
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

    def step(self, epoch, seen, loss, accuracy):
        if not self.before:
            self.rate(epoch, seen)
        elif time.perf_counter() - self.last > self.EVERY and seen < self.images:
            self._print(epoch, seen, loss, accuracy)

    def epoch(self, record):
        self._print(record["epoch"], self.images, record["loss"], record["accuracy"])

    def _print(self, epoch, seen, loss, accuracy):
        print(figures(epoch, self.epochs, loss, accuracy, *self.rate(epoch, seen)), file=sys.stderr, flush=True)
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
    """One line that rewrites itself ten times a second."""

    EVERY = 0.1

    def __exit__(self, *error):
        print(file=sys.stderr)

    def _print(self, epoch, seen, loss, accuracy):
        print("\r" + figures(epoch, self.epochs, loss, accuracy, *self.rate(epoch, seen)).ljust(79), end="", file=sys.stderr, flush=True)
        self.last = time.perf_counter()


class Bar(Quiet):
    """tqdm's bar over all images."""

    def __enter__(self):
        self.bar = tqdm(total=self.epochs * self.images, unit=" images", unit_scale=True)
        return self

    def __exit__(self, *error):
        self.bar.close()

    def step(self, epoch, seen, loss, accuracy):
        self.bar.set_description(figures(epoch, self.epochs, loss, accuracy, self.rate(epoch, seen)[0]).rpartition("  ")[0], refresh=False)
        self.bar.update((epoch - 1) * self.images + seen - self.bar.n)


def reporter(epochs: int, images: int, wanted: bool | None) -> Quiet:
    """What shows the progress; without stderr, as under pythonw, nothing can."""
    if wanted is False or sys.stderr is None:
        return Quiet(epochs, images)
    if not sys.stderr.isatty():
        return (Lines if wanted else FewLines)(epochs, images)
    return (Bar if tqdm is not None else Rewritten)(epochs, images)
