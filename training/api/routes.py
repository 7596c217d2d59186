"""The routes under /v1 that lead into training; `hub.asgi` puts them into the table."""

from inference.api.routing import Action, Route
from training.api import files, fine_tuning, uploads

ROUTES = (
    Route(
        "/v1/files",
        {
            "GET": Action("files:read", files.listing),
            "POST": Action("files:write", files.create),
        },
    ),
    Route(
        "/v1/files/{file_id}",
        {
            "GET": Action("files:read", files.retrieve),
            "DELETE": Action("files:write", files.remove),
        },
    ),
    Route("/v1/files/{file_id}/content", {"GET": Action("files:read", files.content)}),
    Route("/v1/uploads", {"POST": Action("files:write", uploads.create)}),
    Route("/v1/uploads/{upload_id}/parts", {"POST": Action("files:write", uploads.add)}),
    Route("/v1/uploads/{upload_id}/complete", {"POST": Action("files:write", uploads.complete)}),
    Route("/v1/uploads/{upload_id}/cancel", {"POST": Action("files:write", uploads.cancel)}),
    Route(
        "/v1/fine_tuning/jobs",
        {
            "GET": Action("training:read", fine_tuning.listing),
            "POST": Action("training:write", fine_tuning.create),
        },
    ),
    Route("/v1/fine_tuning/jobs/{job_id}", {"GET": Action("training:read", fine_tuning.retrieve)}),
    Route(
        "/v1/fine_tuning/jobs/{job_id}/events", {"GET": Action("training:read", fine_tuning.events)}
    ),
    Route(
        "/v1/fine_tuning/jobs/{job_id}/checkpoints",
        {"GET": Action("training:read", fine_tuning.checkpoints)},
    ),
    Route(
        "/v1/fine_tuning/jobs/{job_id}/cancel",
        {"POST": Action("training:write", fine_tuning.cancel)},
    ),
    Route(
        "/v1/fine_tuning/jobs/{job_id}/pause",
        {"POST": Action("training:write", fine_tuning.pause)},
    ),
    Route(
        "/v1/fine_tuning/jobs/{job_id}/resume",
        {"POST": Action("training:write", fine_tuning.resume)},
    ),
)
