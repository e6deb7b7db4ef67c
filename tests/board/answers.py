# SPDX-License-Identifier: Apache-2.0
"""What every driver must answer, whatever it talks to."""

import numpy as np


def check_integers(driver, accelerator, x, y):
    """Batch after batch, again, in a narrower type, and for no frame."""
    for _ in range(2):  # buffers are used again
        np.testing.assert_array_equal(accelerator.predict_ints(x), y)
    assert driver.board.transfers == 2 * -(-len(x) // accelerator.batch)
    np.testing.assert_array_equal(accelerator.predict_ints(x[:1].astype(np.uint8)), y[:1])
    assert accelerator.predict_ints(x[:0]).shape == (0, *y.shape[1:])
