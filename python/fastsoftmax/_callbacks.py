"""scikit-learn's callbacks: a fit as they see it, where the installed version (1.9 or later) has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Says what callbacks need."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            raise ImportError("callbacks need scikit-learn 1.9 or later")

    def _with_callbacks(method: Any) -> Any:
        # As many frames as scikit-learn's, for the sake of warnings.
        @wraps(method)
        def without_callbacks(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return without_callbacks


__all__ = ["CallbackSupportMixin", "FitTask", "with_callbacks"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def with_callbacks(method: _Method) -> _Method:
    """Let the callbacks tear down what they set up for the method, however it ends."""
    return cast(_Method, _with_callbacks(method))


class FitTask:
    """A fit, with a subtask for each iteration; of an estimator without callbacks, nothing.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        What is fitted, by a method that `with_callbacks` decorates.
    iteration : str
        The name of the subtasks.
    max_iter : int
        At most so many of them.
    X, y, sample_weight
        As the user passed them.
    """

    def __init__(
        self, estimator: Any, iteration: str, max_iter: int, X: Any, y: Any, sample_weight: Any
    ) -> None:
        self.has_callbacks = bool(getattr(estimator, "_skl_callbacks", None))
        self._name = iteration
        self._iteration: Any = None
        if not self.has_callbacks:
            return
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._what = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit = estimator._init_callback_context(max_subtasks=max_iter)
        self._fit.call_on_fit_task_begin(**self._what)

    def begin_iteration(self) -> None:
        """Tell the callbacks that one begins."""
        if self.has_callbacks:
            self._iteration = self._fit.subcontext(task_name=self._name)
            self._iteration.call_on_fit_task_begin(**self._what)

    def end_iteration(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Tell them that it has ended, with what makes the estimator fitted; true if one says stop."""
        iteration, self._iteration = self._iteration, None
        return bool(
            iteration
            and iteration.call_on_fit_task_end(**self._what, reconstruction_attributes=attributes)
        )

    def end(self) -> None:
        """Tell them that the estimator is fitted."""
        if self._iteration:  # one that was not to be: the fit ended where it was
            self.end_iteration(dict)
        if self.has_callbacks:
            self._fit.call_on_fit_task_end(**self._what, reconstruction_attributes=dict)
