"""The command ``fastsoftmax``: train, predict, info.

Only this file turns errors into exit codes; data come from _cli_data.py.
Heavy modules are imported by the functions that need them: ``--help`` must be quick.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__

if TYPE_CHECKING:
    from ._cli_data import TrainingData
    from ._softmax_classifier import SoftmaxClassifier

BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 2, 128 + 2, 128 + 13  # as shells report SIGINT and SIGPIPE

# Those of TensorFlow's MNIST tutorials, for mnist and for files.
TUTORIAL = {"epochs": 10, "batch_size": 100, "learning_rate": 0.01, "momentum": 0.0, "alpha": 0.0}
# Over 20 seeds the test accuracy is 0.964 to 0.972, its mean 0.968; the exact optimum of
# scikit-learn's LogisticRegression reaches 0.969 at its best C.
DIGITS = {"epochs": 30, "batch_size": 20, "learning_rate": 0.1, "momentum": 0.9, "alpha": 0.0}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Its arguments; those of the process if None.

    Returns
    -------
    int
        The exit code: 0, or 2 for wrong usage and bad input, 130 for Ctrl-C, 141 if standard output
        is a pipe that nobody reads any more.
    """
    try:
        return _run(argv)
    except BrokenPipeError:
        code = CLOSED_PIPE
    except KeyboardInterrupt:
        code = INTERRUPTED
        _tell("fastsoftmax: interrupted")
    except (ValueError, OSError, MemoryError, ImportError) as error:
        code = BAD_INPUT
        _tell(f"fastsoftmax: error: {_one_line(error)}")
    _settle_stdout()
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _make_parser().parse_args(argv)
        arguments.run(arguments)
    except SystemExit:  # argparse has printed help or the version
        pass
    if sys.stdout is not None:
        with _naming_stdout():
            sys.stdout.flush()
    return 0


@contextmanager
def _naming_stdout() -> Iterator[None]:
    """Let an error of what is printed have a file to name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or "not enough memory"


def _tell(text: str) -> None:
    """Print to standard error, if anybody can: else the result counts, not what is said of it."""
    if sys.stderr is not None:  # None where it is closed, and print would take standard output
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def _settle_stdout() -> None:
    """Leave nothing in the buffer that the interpreter's own last flush could fail on."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _train(arguments: argparse.Namespace) -> None:
    from . import _core
    from ._cli_data import input_files, load_training_data
    from ._persistence import save_model

    # Now, not after an hour of training.
    _check_output(arguments.output, input_files(arguments.dataset, arguments.data_dir))
    data = load_training_data(arguments.dataset, arguments.data_dir, arguments.seed)
    settings = _settings(arguments)
    n_threads = _core.plan_threads(arguments.threads or 0, math.inf)
    _say(
        f"{arguments.dataset}: {_describe(data)}; "
        + ", ".join(f"{name} {value}" for name, value in settings.items())
        + f"; {_core.active_isa()}, threads {n_threads}"
    )
    _mention_unknown(data.y_test, data.classes)
    model = _make_model(settings, data, arguments.threads)
    started = time.perf_counter()
    accuracy = _run_epochs(model, data, settings["epochs"])
    elapsed = time.perf_counter() - started
    if arguments.output is not None:
        save_model(model, arguments.output)
    _say(f"{accuracy}total time {elapsed:.2f} s")


def _check_output(output: str | None, inputs: Sequence[str]) -> None:
    """Refuse an output that cannot be written, or would take the place of an input."""
    from ._replacement import check_writable

    if output is None:
        return
    check_writable(output)
    for number, stream in ((1, "standard output"), (2, "standard error")):
        with suppress(OSError):  # of one that is closed
            if os.path.exists(output) and os.path.samefile(number, output):
                raise ValueError(f"--output {output} would replace the file of {stream}")
    for given in inputs:
        if os.path.exists(output) and os.path.exists(given) and os.path.samefile(given, output):
            raise ValueError(f"--output {output} would overwrite {given}")


def _mention_unknown(y: Any, classes: Any) -> None:
    """Say which labels cannot be predicted, as of files that count from 0 and from 1."""
    from ._labels import first_few

    if y is None:
        return
    unknown = sorted({*y.tolist()} - {*classes.tolist()})
    if unknown:
        _tell(
            f"fastsoftmax: no classes of the model, but labels to test with: {first_few(unknown)}"
        )


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the training, each from its option or the data set's defaults."""
    defaults = DIGITS if arguments.dataset == "digits" else TUTORIAL
    given = {name: getattr(arguments, name) for name in defaults}
    chosen = {name: defaults[name] if given[name] is None else given[name] for name in defaults}
    return {**chosen, "nesterov": arguments.nesterov, "seed": arguments.seed}


def _describe(data: "TrainingData") -> str:
    n_test = 0 if data.X_test is None else len(data.X_test)
    n_train, n_features = data.X_train.shape
    return (
        f"{n_train} training and {n_test} test rows, {n_features} features ({data.X_train.dtype}), "
        f"{len(data.classes)} classes"
    )


def _make_model(
    settings: dict[str, Any], data: "TrainingData", n_threads: int | None
) -> "SoftmaxClassifier":
    from ._softmax_classifier import SoftmaxClassifier

    return SoftmaxClassifier(
        learning_rate=settings["learning_rate"],
        batch_size=settings["batch_size"],
        max_iter=settings["epochs"],
        alpha=settings["alpha"],
        momentum=settings["momentum"],
        nesterov=settings["nesterov"],
        input_scale=data.input_scale,
        random_state=settings["seed"],
        n_threads=n_threads,
    )


def _run_epochs(model: "SoftmaxClassifier", data: "TrainingData", n_epochs: int) -> str:
    """Train, print a line an epoch, and return the last test accuracy as printed."""
    accuracy = ""
    for epoch in range(1, n_epochs + 1):
        started = time.perf_counter()
        model.partial_fit(data.X_train, data.y_train, classes=data.classes)
        rate = len(data.X_train) / (time.perf_counter() - started)
        if data.X_test is not None and data.y_test is not None:
            accuracy = f"test accuracy {model.score(data.X_test, data.y_test):.4f}  "
        _say(
            f"epoch {epoch:>{len(str(n_epochs))}}/{n_epochs}  loss {model.loss_curve_[-1]:.4f}  "
            f"{accuracy}{rate:,.0f} images/s"
        )
    return accuracy


def _predict(arguments: argparse.Namespace) -> None:
    from ._cli_data import input_files, is_text, load_prediction_data
    from ._persistence import load_model
    from ._replacement import replacement

    inputs = [arguments.model, *input_files(arguments.data, arguments.data_dir)]
    _check_output(arguments.output, inputs)
    model = load_model(arguments.model)
    X, y = load_prediction_data(arguments.data, arguments.data_dir)
    if y is not None and (is_text(y) != is_text(model.classes_)):
        raise ValueError(
            f"{arguments.data}: its labels are {y.dtype}, those of the model {model.classes_.dtype}"
        )
    if X.shape[1] != model.n_features_in_:
        raise ValueError(
            f"{arguments.data}: its rows have {X.shape[1]} features, those of the model "
            f"{model.n_features_in_}"
        )
    _mention_unknown(y, model.classes_)
    labels = model.predict(X)
    # str of a NumPy number has as many digits as it takes to read the same number back.
    lines = (
        ("\t".join(map(str, row)) for row in model.predict_proba(X))
        if arguments.proba
        else map(_label_line, labels)
    )
    if arguments.output is None:
        if not arguments.proba and sys.stdout is not None:  # closed: print writes nothing
            encoding = sys.stdout.encoding or "utf-8"
            _check_encoding(model.classes_, encoding, sys.stdout.errors or "strict")
        for line in lines:
            _say(line)
    else:
        if not arguments.proba:
            _check_encoding(model.classes_, "utf-8", "strict", arguments.output)
        with replacement(arguments.output) as file:
            file.writelines(f"{line}\n".encode() for line in lines)
    if y is not None:
        _tell(f"accuracy {(labels == y).mean():.4f}")


def _label_line(label: Any) -> str:
    text = str(label)
    return text if text.splitlines() in ([], [text]) else repr(text)


def _check_encoding(classes: Any, encoding: str, errors: str, output: str | None = None) -> None:
    """Refuse labels that the output cannot take, before the first is written."""
    for label in classes:
        try:
            _label_line(label).encode(encoding, errors)
        except UnicodeEncodeError:
            advice = "" if output else "; --output writes UTF-8"
            raise ValueError(
                f"{output or 'standard output'}, in {encoding}, does not take the label "
                f"{str(label)!a}{advice}"
            ) from None


def _info(arguments: argparse.Namespace) -> None:
    from ._show_versions import show_versions

    with _naming_stdout():
        show_versions()


def _say(line: str) -> None:
    with _naming_stdout():
        print(line, flush=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")

    # argparse's own ignores every failure to write.
    def _print_message(self, message: str, file: Any = None) -> None:
        with _naming_stdout():
            print(message, end="", file=file, flush=True)


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastsoftmax", description="Softmax regression on the CPU.")
    parser.add_argument("--version", action="version", version=f"fastsoftmax {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_train(commands)
    _add_predict(commands)
    info = commands.add_parser("info", help="print versions, instruction sets and threads")
    info.set_defaults(run=_info)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a classifier, and test it after every epoch",
        description="Train a classifier by mini-batch gradient descent, and test it after every "
        "epoch. FILE.npz holds x_train, y_train, x_test and y_test, or X and y; of the latter, "
        "a fifth of the rows is held out as the test set, in proportion to the classes if each "
        "has enough. Images are flattened. uint8 inputs are divided by 255 (digits by 16).",
    )
    train.set_defaults(run=_train)
    train.add_argument(
        "dataset",
        nargs="?",
        default="digits",
        metavar="DATA",
        help="digits, mnist, or FILE.npz (default: digits)",
    )
    _add_data_dir(train)
    for option, parse, what in (
        ("--epochs", _positive_int, "passes over the training set"),
        ("--batch-size", _positive_int, "rows a step"),
        ("--learning-rate", _positive, "step size"),
        ("--momentum", _fraction, "share of the last step in the next one"),
        ("--alpha", _non_negative, "strength of the L2 penalty"),
    ):
        name = option[2:].replace("-", "_")
        defaults = f"default: {TUTORIAL[name]:g}; for digits {DIGITS[name]:g}"
        train.add_argument(option, type=parse, metavar="N", help=f"{what} ({defaults})")
    train.add_argument("--nesterov", action="store_true", help="use Nesterov's momentum")
    train.add_argument(
        "--threads", type=_positive_int, metavar="N", help="at most so many (default: all CPUs)"
    )
    train.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="of the shuffling, and of the rows held out (default: 0)",
    )
    train.add_argument("--output", metavar="FILE", help="save the trained model to this file")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="print a line for each row of some data: its predicted label",
        description="Print a line for each row of DATA: its predicted label. If DATA has labels, "
        "the accuracy goes to standard error. Inputs are scaled as they were in training.",
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("model", metavar="MODEL", help="a file written by train --output")
    predict.add_argument(
        "data",
        metavar="DATA",
        help="digits or mnist (their test sets), FILE.npz (X or x_test; y or y_test if there), "
        "or FILE.npy",
    )
    _add_data_dir(predict)
    predict.add_argument(
        "--proba", action="store_true", help="print the classes' probabilities, tab-separated"
    )
    predict.add_argument("--output", metavar="FILE", help="write there instead")


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the MNIST files")


def _number(
    convert: Callable[[str], Any], allowed: Callable[[Any], bool], kind: str
) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not allowed(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind}")
        return value

    return parse


_positive_int = _number(int, lambda n: 0 < n < 2**31, "a positive integer")
_seed = _number(int, lambda n: 0 <= n < 2**32, "an integer from 0 to 2**32 - 1")
_positive = _number(float, lambda x: 0 < x < math.inf, "a positive number")
_non_negative = _number(float, lambda x: 0 <= x < math.inf, "a number >= 0")
_fraction = _number(float, lambda x: 0 <= x < 1, "a number from 0 up to, but not including, 1")
