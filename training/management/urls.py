"""Under /api/v1."""

from django.urls import path

from training.management import after, datasets, jobs

JOB = "training/jobs/<slug:key>"
SET, VERSION = "datasets/<slug:key>", "datasets/<slug:key>/versions/<int:number>"

urlpatterns = [
    path("datasets", datasets.DataSetList.as_view(), name="api-datasets"),
    path(SET, datasets.OneDataSet.as_view(), name="api-dataset"),
    path(f"{SET}/versions", datasets.Versions.as_view(), name="api-dataset-versions"),
    path(VERSION, datasets.OneVersion.as_view(), name="api-dataset-version"),
    path(f"{VERSION}/findings", datasets.Findings.as_view(), name="api-dataset-findings"),
    path(f"{VERSION}/withdraw", datasets.Withdraw.as_view(), name="api-dataset-withdraw"),
    path("training/start", jobs.Start.as_view(), name="api-training-start"),
    path("training/plan", jobs.Plan.as_view(), name="api-training-plan"),
    path("training/jobs", jobs.JobList.as_view(), name="api-training-jobs"),
    path(JOB, jobs.OneJob.as_view(), name="api-training-job"),
    path(f"{JOB}/promote", after.Promote.as_view(), name="api-training-job-promote"),
    path(f"{JOB}/rollback", after.RollBack.as_view(), name="api-training-job-rollback"),
    path(f"{JOB}/export", after.MakeExport.as_view(), name="api-training-job-export"),
    path(f"{JOB}/exports/<slug:kind>", after.Download.as_view(), name="api-training-job-download"),
    path(f"{JOB}/plan", jobs.JobPlan.as_view(), name="api-training-job-plan"),
    *(
        path(f"{JOB}/{verb}", jobs.Change.as_view(verb=verb), name=f"api-training-job-{verb}")
        for verb in jobs.VERBS
    ),
]
