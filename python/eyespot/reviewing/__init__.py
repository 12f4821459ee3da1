"""A look at labelled photos before, or after, they train: what a person should look at again."""

from __future__ import annotations

from eyespot.reviewing.assess import review
from eyespot.reviewing.findings import DataReview, LabelIssue, LookAlikes, Outlier

__all__ = ["DataReview", "LabelIssue", "LookAlikes", "Outlier", "review"]
