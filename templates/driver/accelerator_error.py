# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with an accelerator and the user can mend."""


class AcceleratorError(Exception):
    """What is wrong, and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}\n  what to do: {remedy}")
