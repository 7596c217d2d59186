"""Rows of training, one module per noun."""

from training.models.datasets import DataSet, DataSets, DataSetVersion
from training.models.exports import Export
from training.models.files import File, Files
from training.models.jobs import Attempt, Checkpoint, Job, JobEvent, Jobs
from training.models.uploads import FilePart, FileUpload, FileUploads

__all__ = [
    "Attempt",
    "Checkpoint",
    "DataSet",
    "DataSetVersion",
    "DataSets",
    "Export",
    "File",
    "FilePart",
    "FileUpload",
    "FileUploads",
    "Files",
    "Job",
    "JobEvent",
    "Jobs",
]
