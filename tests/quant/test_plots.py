# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run: what is drawn is what was measured."""

import pytest

from flow.errors import OutputError
from flow.quant import plots

pytest.importorskip("matplotlib")
ROWS = [
    {"epoch": e, "loss": 3.0 / e, "train_accuracy": e / 10, "test_accuracy": e / 20, "average_bits": 8 - e}
    | {f"bits:layer{n}": 8.0 - e + n / 20 for n in range(13)}
    for e in range(1, 6)
]


def figures(monkeypatch, rows, tmp_path, draw=plots.draw):
    """The axes of each picture, by its name."""
    from matplotlib.figure import Figure

    kept, save = {}, Figure.savefig

    def saved(self, path, **options):
        kept[path.stem] = self.axes[0]
        save(self, path, **options)

    monkeypatch.setattr(Figure, "savefig", saved)
    paths = draw(rows, tmp_path)
    assert [path.stem for path in paths] == list(kept)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    return kept


def drawn(axes):
    return {line.get_label(): line.get_ydata().tolist() for line in axes.lines}


def test_pictures_hold_the_metrics(monkeypatch, tmp_path):
    axes = figures(monkeypatch, ROWS, tmp_path)
    assert list(axes) == ["loss", "score", "bits", "cost"]
    assert list(drawn(axes["loss"]).values()) == [[row["loss"] for row in ROWS]]
    assert drawn(axes["score"])["held-out accuracy (%)"] == [5, 10, 15, 20, 25]
    bits = drawn(axes["bits"])
    assert len(bits) == 14
    assert bits["layer3"] == [row["bits:layer3"] for row in ROWS]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes["bits"].lines}) == 14
    assert axes["cost"].get_xlabel() == "bits a weight"
    assert axes["cost"].collections[0].get_offsets().tolist() == [[8 - e, 5 * e] for e in range(1, 6)]


def test_cost_is_that_of_the_budget_and_errors_are_no_per_cent(monkeypatch, tmp_path):
    rows = [{k: v for k, v in row.items() if "accuracy" not in k} for row in ROWS]
    rows = [row | {"test_error": 0.5, "cost:lut": 100.0 * row["epoch"]} for row in rows]
    axes = figures(monkeypatch, rows, tmp_path)
    assert axes["cost"].get_xlabel() == "LUTs, planned"
    assert axes["cost"].collections[0].get_offsets().tolist() == [[100 * e, 0.5] for e in range(1, 6)]


def test_sensitivities(monkeypatch, tmp_path):
    table = [
        {"layer": f"l{n}", "bits": bits, "alone": 1.0 / bits, "among": n + 2.0 / bits}
        for n in (0, 1)
        for bits in (2, 4)
    ]
    axes = figures(monkeypatch, table, tmp_path, plots.draw_sensitivity)
    assert list(axes) == ["sensitivity"]
    lines = [(line.get_linestyle(), line.get_ydata().tolist()) for line in axes["sensitivity"].lines]
    assert lines == [("-", [1, 0.5]), (":", [0.5, 0.25]), ("-", [2, 1.5]), (":", [0.5, 0.25])]
    assert [text.get_text() for text in axes["sensitivity"].get_legend().get_texts()] == ["l0", "l1"]


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"loss\.png cannot be written"):
        plots.draw(ROWS, tmp_path / "nowhere")
