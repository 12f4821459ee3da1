"""The heads as scikit-learn estimators; scikit-learn itself is optional."""

from __future__ import annotations

import inspect
import warnings
from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from eyespot._core import ThreadPool
from eyespot.errors import ConvergenceWarning, DataError, InvalidOption
from eyespot.head import Head, class_balance, fit_perceptron, fit_softmax, softmax_probabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["MultilayerPerceptron", "SoftmaxRegression"]

try:
    from sklearn.base import BaseEstimator as _Base
    from sklearn.base import ClassifierMixin as _Mixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data

    _SKLEARN = True
except ImportError:
    _SKLEARN = False

    class _Mixin:  # type: ignore[no-redef]
        """Nothing: what scikit-learn's mixin adds is written out below."""

    class _Base:  # type: ignore[no-redef]
        """The part of scikit-learn's base class that does not need scikit-learn."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
            """Return the constructor's arguments by name."""
            return {name: getattr(self, name) for name in _parameters(type(self))}

        def set_params(self, **params: Any) -> Self:
            """Set constructor arguments by name."""
            known = _parameters(type(self))
            for name, value in params.items():
                if name not in known:
                    msg = f"{name}: unknown; allowed are {', '.join(known)}"
                    raise InvalidOption(msg, source=name, code="invalid_argument")
                setattr(self, name, value)
            return self


def _parameters(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)


class _HeadEstimator(_Mixin, _Base, metaclass=ABCMeta):  # type: ignore[misc]
    """What both estimators share: checks of the data, labels, and predictions from scores."""

    classes_: NDArray[Any]
    n_features_in_: int
    n_threads: int

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Return the scores of each class, or of the second class over the first if there are two.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows.

        Returns
        -------
        float64 ndarray of shape (n, n_classes) or (n,)
            Log-odds, up to a constant a row.
        """
        scores = self._scores(self._rows(X))
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Return the probability of each class.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows.

        Returns
        -------
        float32 ndarray of shape (n, n_classes)
            In the order of ``classes_``; rows sum to 1.
        """
        return self._probabilities(self._rows(X))

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows.

        Returns
        -------
        float32 ndarray of shape (n, n_classes)
            Natural logarithms.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the likeliest label of each row.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n,)
            Labels.
        """
        scores = self.decision_function(X)
        best = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def score(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the accuracy.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows.
        y : array of shape (n,)
            Their labels.
        sample_weight : array of shape (n,), optional
            Not negative.

        Returns
        -------
        float
            Weighted fraction of the rows that are classified rightly.
        """
        right = self.predict(X) == np.asarray(y)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return float(np.average(right, weights=weights))

    def _labelled(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None,
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.intp], NDArray[np.float64] | None]:
        """Return rows, classes, the class of each row, and weights."""
        x, labels = self._training_rows(X, y)
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            msg = f"y: 1 class given ({classes[0]!r}); at least 2 are needed"
            raise InvalidOption(msg, source="y", code="invalid_argument")
        if sample_weight is None:
            return x, classes, targets, None
        weights = np.asarray(sample_weight, dtype=np.float64)
        if weights.ndim == 0:
            weights = np.full(len(x), weights)
        return x, classes, targets, weights

    @abstractmethod
    def _scores(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log-odds of each class, up to a constant a row."""

    @abstractmethod
    def _probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each class."""

    def _training_rows(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        if _SKLEARN:
            x, labels = validate_data(self, X, y, dtype=np.float32, order="C")
            check_classification_targets(labels)
            return x, labels
        x, labels = _dense(X), np.asarray(y)
        if labels.shape != (len(x),):
            msg = f"y: shape {labels.shape} given; one label a row, {len(x)} in all, is needed"
            raise InvalidOption(msg, source="y", code="invalid_argument")
        return x, labels

    def _rows(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        if _SKLEARN:
            check_is_fitted(self)
            checked: NDArray[np.float32] = validate_data(
                self, X, dtype=np.float32, order="C", reset=False
            )
            return checked
        if not hasattr(self, "classes_"):
            name = type(self).__name__
            raise DataError(f"{name}: call fit before this", source=name)
        return _dense(X)


class SoftmaxRegression(_HeadEstimator):
    """Multinomial logistic regression that reaches the optimum and can choose its penalty.

    Parameters
    ----------
    l2 : float or "auto", default "auto"
        Strength of the penalty on the weights beside the weighted *mean* log-loss; scikit-learn's
        ``C`` is ``1 / (n * l2)``. ``"auto"`` chooses it by 5-fold cross-validated log-loss.
    class_weight : None, "balanced", float or mapping, default None
        Weight of each class. ``"balanced"`` is ``n / (n_classes * n_c)``, a float ``p`` is that to
        the power of ``p`` (0 like None, 1 like ``"balanced"``), a mapping gives each label its
        weight and 1 to labels that it leaves out. The loss is a weighted mean, so the penalty
        keeps its meaning.
    max_iter : int, default 500
        Most iterations of the solver, at least 1.
    tol : float, default 1e-4
        See ``tolerance`` of `eyespot.fit_softmax`.
    warm_start : bool, default False
        Start from the solution of the last fit. Classes that were not there start from zero
        weights; classes that are gone are dropped.
    n_threads : int, default 1
        Threads; 0 takes what the process may use. The result does not depend on it.
    random_state : int, default 0
        Seed of the assignment of rows to folds; used by ``l2="auto"`` only.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    coef_ : float32 ndarray of shape (n_classes, n_features)
        Weights, one row a class even for two classes; each column sums to about 0.
    intercept_ : float64 ndarray of shape (n_classes,)
        Biases; they sum to about 0.
    n_iter_ : ndarray of shape (1,)
        Iterations done.
    l2_ : float
        Strength that was used.
    l2_path_ : L2Path or None
        How it was chosen.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    Data are converted to float32. Sparse matrices are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from eyespot import SoftmaxRegression
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = SoftmaxRegression(l2=0.01).fit(x, ["low", "low", "high", "high"])
    >>> print(model.predict([[0.2], [2.8]]))
    ['low' 'high']
    """

    coef_: NDArray[np.float32]
    intercept_: NDArray[np.float64]

    def __init__(
        self,
        *,
        l2: float | Literal["auto"] = "auto",
        class_weight: Literal["balanced"] | float | Mapping[Any, float] | None = None,
        max_iter: int = 500,
        tol: float = 1e-4,
        warm_start: bool = False,
        n_threads: int = 1,
        random_state: int = 0,
    ) -> None:
        self.l2 = l2
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit to rows and their labels.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Finite numbers.
        y : array of shape (n,)
            Labels: strings, integers or booleans.
        sample_weight : array of shape (n,), optional
            Not negative.
        groups : array of shape (n,), optional
            Rows with an equal label here belong together, such as those of a patient: with
            ``l2="auto"`` they are held out together. Strings or integers.

        Returns
        -------
        SoftmaxRegression
            This object.

        Raises
        ------
        InvalidOption, DataError
            As `eyespot.fit_softmax`.

        Warns
        -----
        ConvergenceWarning
            `max_iter` was too few.
        """
        x, classes, targets, weights = self._labelled(X, y, sample_weight)
        start = self._start(classes, x.shape[1])
        fit = fit_softmax(
            x,
            targets,
            len(classes),
            l2=self.l2,
            class_weights=class_balance(self.class_weight, targets, classes),
            sample_weight=weights,
            max_iterations=self.max_iter,
            tolerance=self.tol,
            n_threads=self.n_threads,
            seed=self.random_state,
            start=start,
            groups=_numbered(groups, len(x)),
        )
        self.classes_ = classes
        self.coef_ = fit.weights
        self.intercept_ = fit.bias
        self.n_iter_ = np.array([max(fit.n_iterations, 1)], dtype=np.int32)
        self.l2_ = fit.l2
        self.l2_path_ = fit.path
        self.n_features_in_ = x.shape[1]
        if fit.stop_reason == "max_iterations":
            warnings.warn(
                f"stopped after {fit.n_iterations} iterations with a gradient norm of "
                f"{fit.gradient_norm:.2g}; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _scores(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = (
            x.astype(np.float64) @ self.coef_.T.astype(np.float64) + self.intercept_
        )
        return scores

    def _probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return softmax_probabilities(x, self.coef_, self.intercept_, n_threads=self.n_threads)

    def _start(
        self, classes: NDArray[Any], n_features: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        if not self.warm_start or not hasattr(self, "coef_") or self.n_features_in_ != n_features:
            return None
        last = Head(((self.coef_, self.intercept_.astype(np.float32)),))
        weights, bias = last.for_classes(self.classes_.tolist(), classes.tolist()).layers[0]
        return weights, bias


class MultilayerPerceptron(_HeadEstimator):
    """Fully connected layers with ReLU between them and softmax at the end.

    It is named after Create ML's ``ClassifierType.multilayerPerceptron``, so that it does not hide
    scikit-learn's ``MLPClassifier`` where both are imported.

    Parameters
    ----------
    layer_sizes : sequence of int, default (100,)
        Widths of the hidden layers, the one next to the features first.
    l2 : float, default 0.03
        Strength of the penalty on the weights beside the weighted *mean* log-loss, features
        standardised; scikit-learn's ``alpha`` is ``n * l2``. The default suits embeddings of
        photos; features that are few and clean want less, such as 0.001.
    class_weight : None, "balanced", float or mapping, default None
        As in `SoftmaxRegression`.
    max_iter : int, default 200
        Most iterations of the solver. To end there is not warned about: the problem is not convex,
        and its minimum is seldom what predicts best.
    tol : float, default 1e-4
        See ``tolerance`` of `eyespot.fit_perceptron`.
    warm_start : bool, default False
        Start from the layers of the last fit. Classes that were not there start from zero weights;
        classes that are gone are dropped. `layer_sizes` must be the same.
    n_threads : int, default 1
        Threads; 0 takes what the process may use. The result does not depend on it.
    random_state : int, default 0
        Seed of the hidden layers' first weights.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    head_ : Head
        The layers; the standardisation of the features is folded into the first.
    n_iter_ : int
        Iterations done.
    loss_ : float
        The objective at the end.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    Data are converted to float32. Sparse matrices are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from eyespot import MultilayerPerceptron
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> y = ["out", "out", "in", "in", "out", "out"]
    >>> model = MultilayerPerceptron(layer_sizes=(16,), l2=0.001).fit(x, y)
    >>> print(model.predict([[0.2], [2.5], [4.8]]))
    ['out' 'in' 'out']
    """

    head_: Head

    def __init__(
        self,
        *,
        layer_sizes: Sequence[int] = (100,),
        l2: float = 0.03,
        class_weight: Literal["balanced"] | float | Mapping[Any, float] | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        warm_start: bool = False,
        n_threads: int = 1,
        random_state: int = 0,
    ) -> None:
        self.layer_sizes = layer_sizes
        self.l2 = l2
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Fit to rows and their labels.

        Parameters
        ----------
        X, y, sample_weight
            As in `SoftmaxRegression.fit`.

        Returns
        -------
        MultilayerPerceptron
            This object.

        Raises
        ------
        InvalidOption, DataError, IncompatibleParameters
            As `eyespot.fit_perceptron`.
        """
        x, classes, targets, weights = self._labelled(X, y, sample_weight)
        fit = fit_perceptron(
            x,
            targets,
            len(classes),
            layer_sizes=self.layer_sizes,
            l2=self.l2,
            class_weights=class_balance(self.class_weight, targets, classes),
            sample_weight=weights,
            max_iterations=self.max_iter,
            tolerance=self.tol,
            n_threads=self.n_threads,
            seed=self.random_state,
            start=self._start(classes, x.shape[1]),
        )
        self.classes_ = classes
        self.head_ = fit.head
        self.n_iter_ = max(fit.n_iterations, 1)
        self.loss_ = fit.loss
        self.n_features_in_ = x.shape[1]
        return self

    def _scores(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.head_.logits(x, pool=self._pool()).astype(np.float64)

    def _probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.head_.probabilities(x, pool=self._pool())

    def _pool(self) -> ThreadPool | None:
        return None if self.n_threads == 1 else ThreadPool(self.n_threads)

    def _start(self, classes: NDArray[Any], n_features: int) -> Head | None:
        if not self.warm_start or not hasattr(self, "head_") or self.n_features_in_ != n_features:
            return None
        return self.head_.for_classes(self.classes_.tolist(), classes.tolist())


def _numbered(groups: ArrayLike | None, n_rows: int) -> NDArray[np.intp] | None:
    """Return the group of each row as a number."""
    if groups is None:
        return None
    given = np.asarray(groups)
    if given.shape != (n_rows,):
        msg = f"groups: shape {given.shape} given; one group a row, {n_rows} in all, is needed"
        raise InvalidOption(msg, source="groups", code="invalid_argument")
    numbers: NDArray[np.intp] = np.unique(given, return_inverse=True)[1]
    return numbers


def _dense(X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
    if hasattr(X, "toarray"):
        msg = "X: sparse matrix given; dense data are needed, X.toarray() makes them"
        raise InvalidOption(msg, source="X", code="invalid_argument")
    return np.ascontiguousarray(X, dtype=np.float32)
