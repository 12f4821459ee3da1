"""Who may know whom: the table of DESIGN.md, read off every #include and import."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "cpp"
PACKAGE = ROOT / "python" / "eyespot"

# Public headers: what each may include. A .cpp may include what its own header may, and its own.
BASE = {"error", "types", "runtime", "random"}
HEADER_EDGES: dict[str, set[str]] = {
    "error": set(),
    "types": {"error"},
    "runtime": {"error", "types"},
    "random": {"error", "types"},
    # vision column
    "image": BASE,
    "codec": BASE | {"image"},
    "ops": BASE | {"image"},
    "preprocess": BASE | {"image", "codec", "ops"},
    "augment": BASE | {"image", "codec", "ops", "preprocess"},
    "loader": BASE | {"image", "codec", "ops", "preprocess", "augment"},
    # solver column
    "linalg": BASE,
    "lbfgs": BASE | {"linalg"},
    "feature_moments": BASE | {"linalg"},
    "preconditioner": BASE | {"linalg", "feature_moments"},
    "linear_objective": BASE | {"linalg", "lbfgs", "preconditioner"},
    "softmax_regression": BASE | {"linalg", "lbfgs", "preconditioner", "linear_objective"},
    "multilayer_perceptron": BASE | {"linalg", "lbfgs", "softmax_regression"},
    "sigmoid_regression": BASE
    | {"linalg", "lbfgs", "preconditioner", "linear_objective", "softmax_regression"},
}
SOURCE_FOLDERS: dict[str, set[str]] = {
    "runtime": BASE,
    "codec": BASE | {"image", "codec"},
    "ops": BASE | {"image", "ops", "codec", "preprocess"},
    "augment": BASE | {"image", "codec", "ops", "preprocess", "augment"},
    "loader": BASE | {"image", "codec", "ops", "preprocess", "augment", "loader"},
    "solver": BASE
    | {
        "linalg",
        "lbfgs",
        "feature_moments",
        "preconditioner",
        "linear_objective",
        "softmax_regression",
        "multilayer_perceptron",
        "sigmoid_regression",
    },
}
# A foreign header and the files that may include it.
FOREIGN_HOMES: dict[str, set[str]] = {
    r"jpeglib\.h|jerror\.h": {"cpp/src/codec/jpeg.cpp"},
    r"spng\.h": {"cpp/src/codec/png.cpp"},
    r"webp/.*": {"cpp/src/codec/webp.cpp"},
}

# Python: a module may import modules of a lower level only.
PYTHON_LEVELS: dict[str, float] = {
    "_core": 0,
    "errors": 0,
    "options": 1,
    "model_metadata": 1,
    "paths": 1,
    "predictions": 1,
    "progress": 1,
    "files": 1,
    "augmentation": 2.2,
    "grouping": 2.5,
    "hashing": 2,
    "segments": 2,
    "images": 2,
    "light_model": 1,
    "listing": 2,
    "rendering": 2,
    "splitting": 2,
    "variants": 2.5,
    "loader": 3,
    "backbones": 3,
    "network": 3,
    "store": 3,
    "mistakes": 3.7,
    "pages": 3.5,
    "calibration": 3,
    "tables": 3,
    "data": 4,
    "data_checks": 3,
    "inference": 3,
    "batching": 3.5,
    "image_rows": 4,
    "budget": 4.5,
    "extraction": 4.5,
    "features": 5,
    "head": 4,
    "estimator": 5,
    "measuring": 3,
    "metrics": 4,
    "multi_label_metrics": 4,
    "sides": 5.5,
    "training": 6,
    "reviewing": 6.4,
    "session": 6.4,
    "trainable": 6.8,
    "export": 6,
    "model_file": 7,
    "screen": 7,
    "exporting": 8,
    "samples": 8,
    "verifying": 9,
    "classifier": 9,
    "image_classifier": 10,
    "multi_label_classifier": 11,
    "demo": 11,
    "cli": 12,
    "__main__": 13,
    "__init__": 13,
}


def core_files():
    return sorted(p for p in CORE.rglob("*") if p.suffix in {".cpp", ".hpp", ".h"})


def includes(path: Path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def test_headers_and_sources_include_only_what_their_layer_may():
    wrong = []
    for path in core_files():
        relative = path.relative_to(CORE)
        if relative.parts[0] == "include":
            allowed = HEADER_EDGES[path.stem]
        elif relative.parts[0] == "src":
            allowed = SOURCE_FOLDERS[relative.parts[1]]
        else:  # bindings translate, so they may see every public header
            allowed = set(HEADER_EDGES)
        for name in includes(path):
            match = re.fullmatch(r"eyespot/(\w+)\.hpp", name)
            if match and match[1] not in allowed and match[1] != path.stem:
                wrong.append(f"{relative} includes {name}")
    assert wrong == []


def test_public_headers_have_no_third_party_include():
    wrong = [
        f"{path.name} includes {name}"
        for path in (CORE / "include").rglob("*.hpp")
        for name in includes(path)
        if not re.fullmatch(r"eyespot/\w+\.hpp|[a-z_]+", name)
    ]
    assert wrong == []


def test_a_foreign_library_is_included_in_one_file_only():
    wrong = []
    for path in core_files():
        relative = str(path.relative_to(ROOT))
        for name in includes(path):
            for pattern, homes in FOREIGN_HOMES.items():
                if re.fullmatch(pattern, name) and relative not in homes:
                    wrong.append(f"{relative} includes {name}")
            if name.startswith("pybind11/") and not relative.startswith("cpp/bindings/"):
                wrong.append(f"{relative} includes {name}")
            if name.startswith("hwy/") and not relative.startswith("cpp/src/"):
                wrong.append(f"{relative} includes {name}")
    assert wrong == []


def python_module(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_python_modules_import_only_lower_levels():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = python_module(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("eyespot"):
                parts = node.module.split(".")[1:]
                names = parts[:1] or [a.name for a in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name.split(".")[1] for a in node.names if a.name.startswith("eyespot.")]
            else:
                continue
            for name in names:
                if name != own and PYTHON_LEVELS[name] >= PYTHON_LEVELS[own]:
                    wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


def test_no_file_grows_past_800_lines():
    folders = [CORE, PACKAGE, ROOT / "tests", ROOT / "bench"]
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".py", ".pyi", ".cpp", ".hpp", ".h"}
        and (count := len(path.read_text().splitlines())) > 800
    ]
    assert long == []
