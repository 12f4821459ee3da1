"""Compile and run what `prepare.py` wrote, on a Mac: python check.py FOLDER."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import coremltools as ct
import numpy as np
from PIL import Image

TOLERANCE = {"float32": 1e-3, "float16": 0.05}
# Of a network that rounds its activations to 8 bits: single levels may come out as the next ones.
EIGHT_BITS_TOLERANCE = {"float32": 0.05, "float16": 0.1}


def compile_error(model: Path) -> str:
    """Return what Apple's compiler says against `model`; nothing, or that there is none."""
    if shutil.which("xcrun") is None:
        return "not compiled: no xcrun"
    with tempfile.TemporaryDirectory() as folder:
        command = ["xcrun", "coremlcompiler", "compile", str(model), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()


def predict(
    model: Path, units: ct.ComputeUnit, pixels: np.ndarray, labels: list[str]
) -> tuple[np.ndarray, float]:
    """Return the probabilities of all images, and the milliseconds that one took."""
    loaded = ct.models.MLModel(str(model), compute_units=units)
    name = loaded.get_spec().description.predictedProbabilitiesName
    photos = [Image.fromarray(image) for image in pixels]
    loaded.predict({"image": photos[0]})
    start = time.perf_counter()
    answers = [loaded.predict({"image": photo})[name] for photo in photos]
    elapsed = (time.perf_counter() - start) / len(photos) * 1000
    return np.array([[answer[label] for label in labels] for answer in answers]), elapsed


def main(folder: Path) -> int:
    """Check every model; return the exit code."""
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    pixels = np.load(folder / "pixels.npy")
    expected = np.array(golden["probabilities"])
    tolerance = EIGHT_BITS_TOLERANCE if golden["eight_bits"] else TOLERANCE
    rows, failed = [], False
    for entry in golden["models"]:
        path, precision = folder / entry["file"], entry["precision"]
        row = {"file": entry["file"], "compiler": compile_error(path)}
        failed |= bool(row["compiler"]) and not row["compiler"].startswith("not compiled")
        print(f"{path.name}: {row['compiler'] or 'compiled'}")
        for units in (ct.ComputeUnit.CPU_ONLY, ct.ComputeUnit.ALL):
            try:
                got, milliseconds = predict(path, units, pixels, golden["labels"])
            except Exception as error:  # noqa: BLE001 - whatever Core ML says belongs in the report
                row[units.name] = {"error": str(error)}
                print(f"  {units.name:8}  {error}")
                failed = True
                continue
            difference = float(np.abs(got - expected).max())
            same = float((got.argmax(1) == expected.argmax(1)).mean())
            ok = difference <= tolerance[precision]
            failed |= not ok
            row[units.name] = {"difference": difference, "same_label": same, "ms": milliseconds}
            print(
                f"  {units.name:8}  largest difference {difference:.1e}, same label {same:.0%}, "
                f"{milliseconds:.1f} ms an image{'' if ok else '  FAILED'}"
            )
        rows.append(row)
    report = {"system": platform.platform(), "coremltools": ct.__version__, "models": rows}
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
