"""cleanlab on the arrays of a file; prints JSON. Run by its own interpreter."""

from __future__ import annotations

import json
import sys

REQUIREMENTS = ("cleanlab==2.9.0", "scikit-learn==1.9.1", "numpy==2.4.6")

QUALITY = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
ISSUES = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)


def main() -> None:
    import numpy as np
    from cleanlab.filter import find_label_issues
    from cleanlab.outlier import OutOfDistribution
    from cleanlab.rank import get_label_quality_scores

    given = np.load(sys.argv[1])
    told = {}
    if "embeddings" in given:
        score = OutOfDistribution().fit_score(features=given["embeddings"], verbose=False)
        told["outlier"] = score.tolist()
    else:
        targets = given["targets"]
        p = np.exp(given["log_probabilities"].astype(np.float64))
        p /= p.sum(axis=1, keepdims=True)
        told["quality"] = {
            way: get_label_quality_scores(targets, p, method=way, adjust_pred_probs=False).tolist()
            for way in QUALITY
        }
        told["issues"] = {
            way: find_label_issues(targets, p, filter_by=way, n_jobs=1).tolist() for way in ISSUES
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
