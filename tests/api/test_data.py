# SPDX-License-Identifier: Apache-2.0
"""The user's data: what is read, what is refused, and what counts as a right answer."""

import numpy as np
import pytest

from flow.api.data import accuracy, check_data, load_data
from flow.errors import DataError


def test_frames_take_the_shape_of_the_model(tmp_path):
    x = np.arange(24, dtype=np.uint8).reshape(2, 12)
    np.savez(tmp_path / "data.npz", x=x, y=np.array([1, 0]), other=np.zeros(7))
    found = load_data(tmp_path / "data.npz", (3, 4))
    assert found.x.shape == (2, 3, 4)
    assert found.x.dtype == np.float64
    assert np.array_equal(found.x.reshape(2, 12), x)
    assert found.y.tolist() == [1, 0]


def test_labels_are_not_needed(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.ones((2, 3)))
    assert load_data(tmp_path / "data.npz", (3,)).y is None


@pytest.mark.parametrize("y", [[1, 0, 2], [[1], [0], [2]], np.array([1.0, 0.0, 2.0])])
def test_labels_in_a_column(y):
    found = check_data(np.ones((3, 2)), np.array(y), (2,), "data")
    assert found.y.shape == (3,)
    assert found.y.tolist() == [1, 0, 2]


def test_labels_one_hot():
    found = check_data(np.ones((3, 2)), np.eye(3), (2,), "data")
    assert found.y.shape == (3, 3)


@pytest.mark.parametrize(
    ("x", "y", "message", "remedy"),
    [
        (np.array([["a", "b"]]), None, "data: x holds <U1, not numbers", "store numbers"),
        (
            np.ones(2),
            None,
            "data: x has shape [2]; expected frames of shape [2], as [frames, 2]",
            "reshape it, first axis the frames",
        ),
        (
            np.ones((0, 2)),
            None,
            "data: x has shape [0, 2]; expected frames of shape [2], as [frames, 2]",
            "reshape it, first axis the frames",
        ),
        (np.full((1, 2), np.inf), None, "data: x holds NaN or infinite numbers", "clean the data"),
        (
            np.ones((2, 2)),
            np.ones(3),
            "data: y has shape [3] (float64) for 2 frames",
            "store one label for each frame",
        ),
    ],
)
def test_refused(x, y, message, remedy):
    with pytest.raises(DataError) as caught:
        check_data(x, y, (2,), "data")
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


def test_labels_that_are_no_whole_numbers():
    with pytest.raises(DataError):
        check_data(np.ones((2, 2)), np.array([0.7, 1.0]), (2,), "data")


def test_accuracy_of_the_greatest_output():
    output = np.array([[1.0, 3.0, 2.0], [9.0, 0.0, 0.0], [0.0, 0.0, 1.0], [5.0, 6.0, 7.0]])
    assert accuracy(np.array([1, 0, 2, 0]), output) == 0.75
    assert accuracy(np.eye(3, dtype=np.int64)[[1, 0, 2, 0]], output) == 0.75


def test_accuracy_of_a_tie_goes_to_the_first():
    assert accuracy(np.array([0]), np.array([[2.0, 2.0]])) == 1.0
    assert accuracy(np.array([1]), np.array([[2.0, 2.0]])) == 0.0


def test_accuracy_of_one_output_by_its_sign():
    output = np.array([[-1.0], [0.0], [0.5], [3.0]])
    assert accuracy(np.array([0, 0, 1, 1]), output) == 1.0
    assert accuracy(np.array([1, 1, 1, 1]), output) == 0.5
    assert accuracy(np.array([0, 0, 0, 0]), output) == 0.5


def test_accuracy_of_one_output_by_its_value():
    output = np.array([[-1.0], [1.0], [1.0]])
    assert accuracy(np.array([-1, 1, -1]), output) == pytest.approx(2 / 3)
    assert accuracy(np.array([0, 1, 2]), np.array([[0.0], [1.0], [5.0]])) == pytest.approx(2 / 3)


def test_accuracy_of_outputs_with_several_axes():
    assert accuracy(np.array([3]), np.array([[[1.0, 2.0], [3.0, 4.0]]])) == 1.0
