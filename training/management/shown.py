"""How data sets and their versions are shown, and what a caller may say of one."""

from typing import Any

import msgspec
from rest_framework import serializers

from accounts.models import Visibility
from accounts.strict import Strict, StrictQuery
from training import sets, shelf
from training.datasets import findings
from training.datasets.report import Report
from training.models import DataSet, DataSetVersion

MAX_TEXT_CHARS = 1_000_000
PLAIN = [
    "number",
    "state",
    "reason",
    "file_id",
    "validation_file_id",
    "filename",
    "held_out",
    "leaves_out",
    "base",
    "max_length",
    "format",
    "shape",
    "rows",
    "train_rows",
    "validation_rows",
    "characters",
    "tokens",
    "errors",
    "warnings",
    "size_bytes",
    "sha256",
    "created_at",
    "ended_at",
]


class NewVersion(Strict):
    file_id = serializers.CharField(
        max_length=64, required=False, help_text="Of /v1/files, purpose fine-tune."
    )
    text = serializers.CharField(
        max_length=MAX_TEXT_CHARS,
        required=False,
        trim_whitespace=False,
        help_text="In place of a file: the rows themselves.",
    )
    filename = serializers.CharField(
        max_length=255, default="pasted.jsonl", help_text="Of the text; .csv tells that it is one."
    )
    validation_file_id = serializers.CharField(max_length=64, default="")
    held_out = serializers.FloatField(
        default=0.0, help_text="Share of rows for validation, chosen by their hash."
    )
    leaves_out = serializers.BooleanField(
        default=False, help_text="Leave out rows with errors, in place of refusing all."
    )
    base = serializers.CharField(
        max_length=128, default="", help_text="Model whose template and vocabulary are asked."
    )
    max_length = serializers.IntegerField(default=2_048, help_text="Tokens of a row, with a base.")


class NewDataSet(NewVersion):
    name = serializers.CharField(max_length=sets.LONGEST_NAME)
    description = serializers.CharField(max_length=4_000, default="", allow_blank=True)
    visibility = serializers.ChoiceField(choices=Visibility.values, default=Visibility.TEAM)


class Filter(StrictQuery):
    search = serializers.CharField(required=False, max_length=128, help_text="In names.")


class FindingFilter(StrictQuery):
    code = serializers.CharField(required=False, max_length=64)
    severity = serializers.ChoiceField(choices=["error", "warning"], required=False)


class VersionView(serializers.ModelSerializer[DataSetVersion]):
    class Meta:
        model = DataSetVersion
        fields = PLAIN


class DataSetView(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    team = serializers.CharField(help_text="Who owns it.")
    visibility = serializers.CharField(help_text="hub: everybody sees it; team: its members.")
    created_at = serializers.DateTimeField()
    versions = serializers.IntegerField(help_text="How many.")
    latest = VersionView(allow_null=True)


class FindingView(serializers.Serializer[Any]):
    line = serializers.IntegerField(help_text="From 1; 0 speaks of the whole file.")
    path = serializers.CharField()
    code = serializers.CharField()
    severity = serializers.CharField()
    message = serializers.CharField()
    fix = serializers.CharField()


class ReportView(VersionView):
    """A version with what its check found."""

    columns = serializers.DictField(help_text="Which column of the file takes which part.")
    kinds = serializers.ListField(
        child=serializers.DictField(), help_text="Findings by code, counted, with what mends them."
    )
    lengths = serializers.DictField(allow_null=True, help_text="In tokens; with a base only.")
    samples = serializers.ListField(child=serializers.DictField(), help_text="The first rows.")

    class Meta(VersionView.Meta):
        fields = [*PLAIN, "columns", "kinds", "lengths", "samples"]


def version(row: DataSetVersion) -> dict[str, Any]:
    return {name: getattr(row, name) for name in PLAIN}


def data_set(row: DataSet) -> dict[str, Any]:
    versions = [*row.versions.all()]
    return {
        **{name: getattr(row, name) for name in ("id", "name", "description", "visibility")},
        "team": row.team.name,
        "created_at": row.created_at,
        "versions": len(versions),
        "latest": version(versions[0]) if versions else None,
    }


def whole(row: DataSetVersion) -> dict[str, Any]:
    report = shelf.report(row.pk) or Report(writing="text")
    kinds = [
        {
            "code": code,
            "count": count,
            "severity": findings.CODES[code][0],
            "fix": findings.fix(code),
        }
        for code, count in sorted(report.counts.items())
    ]
    lengths = None
    if report.lengths is not None:
        lengths = {**msgspec.to_builtins(report.lengths), "share": report.lengths.share}
    found = {"columns": report.columns, "kinds": kinds, "samples": report.samples}
    return {**version(row), **found, "lengths": lengths}


def finding(found: findings.Finding) -> dict[str, Any]:
    return {**msgspec.to_builtins(found), "fix": findings.fix(found.code)}
