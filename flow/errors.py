# SPDX-License-Identifier: Apache-2.0
"""What the user can mend, by whose fault it is. Anything else that is raised is a bug and keeps its traceback."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class FlowError(Exception):
    """A problem with one clear message: what was expected, what was found, where, and what to do.

    Args:
        message: What is wrong, in one or more lines.
        remedy: What the user can do about it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  what to do: {self.remedy}" if self.remedy else self.message


class ModelFileError(FlowError):
    """The file is not a model that can be read."""


_NAMED = 6  # nodes that a message lists before it counts the rest


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Nodes that cannot be converted, all for one reason: where they are, why, and what to do."""

    nodes: tuple[str, ...]
    op: str
    why: str
    remedy: str

    def __str__(self) -> str:
        named = ", ".join(f"'{node}'" for node in self.nodes[:_NAMED])
        more = f" and {len(self.nodes) - _NAMED} more" if len(self.nodes) > _NAMED else ""
        return f"{self.op} {named}{more}: {self.why}\n      what to do: {self.remedy}"


class UnsupportedModelError(FlowError):
    """The model is readable, but some of its nodes cannot become hardware; all of them are listed."""

    def __init__(self, problems: Sequence[Unsupported]) -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        listing = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
        super().__init__(f"the model cannot be converted ({count}):\n{listing}")


class OptionError(FlowError):
    """A command line option or API argument that means nothing here."""


class DataError(FlowError):
    """The user's data do not fit the model."""


class VerifyError(FlowError):
    """A graph breaks a rule of its language."""


class PassError(FlowError):
    """A pass broke the graph: a defect of this program, with the pass and the node named."""


class ExactnessError(FlowError):
    """Two levels that must agree at tolerance zero do not."""


class InfeasibleError(FlowError):
    """No design fits: the binding resource, the demand, the budget, and what would fit."""


class BoardError(FlowError):
    """A board that is unknown, or a board file that is wrong."""


class PlanFileError(FlowError):
    """A plan file that cannot be read, or that asks for something illegal."""


class CostFileError(FlowError):
    """A file of coefficients of the cost model that cannot be read."""


class CalibrationError(FlowError):
    """Builds that the cost model cannot be refitted to."""


class ToolNotFoundError(FlowError):
    """A program that a step needs is not there."""


class ToolFailedError(FlowError):
    """A program ran and failed; the log holds everything that it said."""

    def __init__(self, message: str, *, log: Path, remedy: str = "") -> None:
        super().__init__(f"{message}\n  log: {log}", remedy)
        self.log = log


class SynthesisError(ToolFailedError):
    """A step of the vendor's tools failed, or gave what must not be used; a repeated command goes on there."""


class PackageError(FlowError):
    """A build that cannot go to a board, or a package that is damaged."""


class DeployError(ToolFailedError):
    """A board that cannot be reached, or that does not do what it shall."""


class ReportError(FlowError):
    """A report that is missing or has a form that is not known."""


class OutputError(FlowError):
    """The build directory cannot be written."""


class ExportError(FlowError):
    """A trained model cannot be written as QONNX, or what was written is not what was trained."""


class RecipeError(FlowError):
    """A recipe for training that cannot be read, or that asks for something that there is not."""


class TrainingError(FlowError):
    """Training cannot go on, or ended without what its method promises."""
