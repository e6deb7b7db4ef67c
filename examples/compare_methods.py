# SPDX-License-Identifier: Apache-2.0
"""Methods side by side on handwritten digits: the same network, data and steps. benchmarks/training_results.py does it
in earnest.

Usage: python examples/compare_methods.py [FOLDER] [EPOCHS]
"""

import sys
from pathlib import Path

from flow.errors import FlowError
from flow.quant.training import train

METHODS = {
    "uniform, 4 bits": 'name = "uniform"\nweight_bits = 4',
    "uniform, 3 bits": 'name = "uniform"\nweight_bits = 3',
    "uniform, 2 bits": 'name = "uniform"\nweight_bits = 2',
    "sinreq, 3 bits": 'name = "sinreq"\nweight_bits = 3\nstrength = 3.0',
    "sinareq": 'name = "sinareq"\nstrength = 3.0',
    "sinareq, 4 bits at most": 'name = "sinareq"\nstrength = 3.0\npenalty = 0.0\n[budget]\naverage_bits = 4',
    "hgq": 'name = "hgq"',
    "ptq, 3 bits": 'name = "ptq"\nweight_bits = 3\nact_bits = 4',
}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/compare_methods")
    epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{'method':<26}{'accuracy':>10}{'bits a weight':>16}")
    for number, (name, table) in enumerate(METHODS.items()):
        recipe = folder / f"{number}.toml"
        recipe.write_text(
            f'epochs = {epochs}\nbatch = 32\nlr = 0.01\n[data]\nname = "digits"\n'
            f'[model]\nname = "mlp"\nhidden = [16]\n[method]\n{table}\n'
        )
        try:
            result = train(recipe, folder / str(number))
        except FlowError as error:
            print(f"{name:<26}{error.message}")
        else:
            print(f"{name:<26}{result.score:>10.3f}{result.average_bits:>16.2f}")


if __name__ == "__main__":
    main()
