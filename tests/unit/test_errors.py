"""The exception tree: what may be caught by what, and what each error carries."""

from __future__ import annotations

import copy
import os
import pickle

import pytest

from eyespot import errors
from eyespot.errors import DecodeError, EyespotError, ImageError, InvalidOption

ERRORS = [
    getattr(errors, name)
    for name in errors.__all__
    if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), Exception)
]


def test_every_public_name_is_there_and_sorted():
    assert sorted(errors.__all__) == errors.__all__


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if not issubclass(kind, Warning)])
def test_every_error_is_an_eyespot_error_that_knows_its_source_and_code(kind):
    error = kind("cat.jpg: 9 px is too much", source="cat.jpg", code="limit_exceeded")
    assert isinstance(error, EyespotError)
    assert (str(error), error.source, error.code) == (
        "cat.jpg: 9 px is too much",
        "cat.jpg",
        "limit_exceeded",
    )


@pytest.mark.parametrize("kind", [errors.InvalidOption, errors.DecodeError])
def test_errors_about_a_value_are_value_errors_too(kind):
    assert issubclass(kind, ValueError)


@pytest.mark.parametrize("kind", [errors.ConvergenceWarning, errors.SkippedImagesWarning])
def test_warnings_are_user_warnings_and_not_errors(kind):
    assert issubclass(kind, UserWarning)
    assert not issubclass(kind, EyespotError)


def test_an_error_keeps_what_it_knows_through_pickle_and_copy():
    error = InvalidOption("l2 is -1", source="l2", code="invalid_argument")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is InvalidOption
        assert (str(twin), twin.source, twin.code) == ("l2 is -1", "l2", "invalid_argument")


def test_an_image_error_becomes_an_exception_with_the_same_facts():
    value = ImageError(index=3, source="cat.jpg", code="corrupt_image", message="no end marker")
    error = value.to_exception()
    assert isinstance(error, DecodeError)
    assert (str(error), error.source, error.code) == (
        "cat.jpg: no end marker",
        "cat.jpg",
        "corrupt_image",
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_argument", errors.InvalidOption),
        ("io", errors.DecodeError),
        ("unsupported_format", errors.DecodeError),
        ("corrupt_image", errors.DecodeError),
        ("limit_exceeded", errors.DecodeError),
        ("non_finite", errors.DataError),
        ("cancelled", errors.Cancelled),
        ("out_of_memory", MemoryError),
        ("a code of tomorrow", errors.EyespotError),
    ],
)
def test_each_code_of_the_core_has_its_class(code, kind):
    error = errors.from_core(code, "cat.jpg", "no end marker")
    assert type(error) is kind
    assert str(error) == "cat.jpg: no end marker"


def test_an_error_of_the_core_without_a_source_is_its_message_alone():
    assert str(errors.from_core("io", "", "disk full")) == "disk full"


def test_the_name_of_a_file_that_is_not_utf8_can_be_printed_and_still_be_opened():
    name = os.fsdecode(b"caf\xe9.jpg")
    value = ImageError(index=0, source=name, code="io", message="gone")
    for text in (str(value), str(value.to_exception()), str(errors.from_core("io", name, "gone"))):
        assert text.encode() == rb"caf\udce9.jpg: gone"
    assert os.fsencode(value.to_exception().source) == b"caf\xe9.jpg"
