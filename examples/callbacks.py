"""Two loggers as callbacks: a line of CSV for each epoch, and curves that TensorBoard shows while training goes on.

A callback is an object that overrides the moments it needs: on_train_begin and on_train_end, on_epoch_begin and on_epoch_end,
on_batch_begin and on_batch_end, as in Keras. `logs` of on_epoch_end is the epoch's record: loss, accuracy, val_loss,
val_accuracy, rate, images_per_second. Where it is enough to see each record, a function does: callbacks=[print].

    pip install tensorboard; python examples/callbacks.py; tensorboard --logdir THE FOLDER YOU WRITE TO
"""

import csv
import tempfile
from pathlib import Path

import fastconv as fc
from fastconv import data, models, train


class CsvLog(train.Callback):
    """Each record is a line of a file, there as soon as its epoch has ended."""

    def __init__(self, path):
        self.path = path

    def on_train_begin(self, logs):
        self.file = open(self.path, "w", newline="")  # noqa: SIM115  # for as long as the training
        self.rows = None

    def on_epoch_end(self, epoch, logs):
        if self.rows is None:
            self.rows = csv.DictWriter(self.file, list(logs))
            self.rows.writeheader()
        self.rows.writerow(logs)
        self.file.flush()

    def on_train_end(self, logs):
        self.file.close()


class TensorBoard(train.Callback):
    """Each number of a record is a curve over epochs, and the loss so far one over updates."""

    def __init__(self, folder):
        from tensorboard.summary import Writer  # type: ignore  # where it is installed

        self.writer, self.updates = Writer(str(folder)), 0

    def on_batch_end(self, batch, logs):
        self.updates += 1
        self.writer.add_scalar("update/loss", logs["loss"], self.updates)

    def on_epoch_end(self, epoch, logs):
        for name, value in logs.items():
            self.writer.add_scalar(f"epoch/{name}", value, epoch)
        self.writer.flush()


fc.seed(1)
training, test = data.digits()
with tempfile.TemporaryDirectory() as folder:  # yours would stay
    callbacks: list[train.Callback] = [CsvLog(Path(folder) / "log.csv"), train.EarlyStopping(patience=2, restore_best_weights=True)]
    try:
        callbacks.append(TensorBoard(folder))
    except ImportError as missing:
        print(f"without TensorBoard ({missing}): pip install tensorboard")
    history = train.fit(models.small_cnn(), *training, epochs=4, validation=test, callbacks=callbacks, verbose=0)
    print((Path(folder) / "log.csv").read_text().strip())
    print("written:", *sorted(path.name for path in Path(folder).iterdir()))
print("validation loss by epoch:", *(f"{loss:.3f}" for loss in history["val_loss"]))
