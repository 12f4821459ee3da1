"""Write a model in every Core ML form, some images, and what it must say of them.

python prepare.py MODEL.onnx PHOTOS OUTPUT
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime

from eyespot import ImageClassifier
from eyespot.errors import ExportError
from eyespot.export.coreml import export_coreml
from eyespot.export.quantize import computes_with_eight_bits
from eyespot.loader import Loader

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
FORMS = [
    (form, head, precision)
    for form in ("mlpackage", "mlmodel")
    for head in ("softmax", "glm")
    for precision in ("float32", "float16")
]


def images(folder: Path, count: int, classifier: ImageClassifier) -> np.ndarray:
    """Return evenly spread photos below `folder` as the model takes them: uint8, (N, H, W, 3)."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    chosen = paths[:: max(1, len(paths) // count)][:count]
    with Loader(chosen, classifier.preprocessing, batch_size=16) as loader:
        batches = [np.array(np.from_dlpack(batch)) for batch in loader]
    return np.concatenate(batches)


def main() -> None:
    """Fill the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a saved eyespot model (.onnx)")
    parser.add_argument("photos", type=Path, help="a folder of photos")
    parser.add_argument("output", type=Path, help="the folder to make")
    parser.add_argument("--count", type=int, default=20, help="how many photos (default 20)")
    options = parser.parse_args()

    classifier = ImageClassifier.load(options.model)
    data = classifier.to_bytes()
    pixels = images(options.photos, options.count, classifier)
    session = onnxruntime.InferenceSession(data)
    expected = [session.run(None, {"image": image[None]})[0][0].tolist() for image in pixels]

    options.output.mkdir(parents=True, exist_ok=True)
    np.save(options.output / "pixels.npy", pixels)
    models = []
    for form, head, precision in FORMS:
        name = f"{head}_{precision}.{form}"
        try:
            export = export_coreml(data, form=form, head=head, precision=precision)
        except ExportError as error:
            if error.code != "unsupported_head":
                raise
            print(f"{name}: left out, {error}")
            continue
        export.write(options.output / name)
        models.append({"file": name, "precision": precision})
        print(f"{name}: specification {export.specification_version}")
    golden = {
        "labels": list(classifier.classes),
        "probabilities": expected,
        "eight_bits": computes_with_eight_bits(data),
        "models": models,
    }
    (options.output / "golden.json").write_text(json.dumps(golden, indent=1), encoding="utf-8")
    print(f"{len(pixels)} images of {pixels.shape[2]} x {pixels.shape[1]} pixels")


if __name__ == "__main__":
    main()
