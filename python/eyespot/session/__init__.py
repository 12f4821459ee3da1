"""Trainings that can be left and taken up again: folders, checkpoints, jobs."""

from __future__ import annotations

from eyespot.session.checkpoints import Checkpoint
from eyespot.session.jobs import Job
from eyespot.session.training_session import TrainingSession, TrainingSessionParameters

__all__ = ["Checkpoint", "Job", "TrainingSession", "TrainingSessionParameters"]
