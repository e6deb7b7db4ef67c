# SPDX-License-Identifier: Apache-2.0
"""Options that do not fit a model: each method says so before the training."""

import pytest

from flow.errors import OptionError


def check_refused(kind, options, message, model, task):
    """A method with these options raises an OptionError, by its constructor or when it sees the model."""

    def prepared():
        method = kind(**options)
        method.see(task)
        method.prepare(model, task.x[:8], 10)

    with pytest.raises(OptionError, match=message):
        prepared()
