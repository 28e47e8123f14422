"""A client of diffsight, the perception service: a method for each task, typed answers, and their arrays."""

from diffsight_client.async_client import AsyncClient
from diffsight_client.async_jobs import AsyncJob
from diffsight_client.client import Client
from diffsight_client.errors import (
    AccessDenied,
    BadInput,
    Busy,
    ClientError,
    Conflict,
    MissingPackage,
    NotFound,
    RequestRefused,
    ServerFault,
    ServerProblem,
    Unreachable,
)
from diffsight_client.images import Image
from diffsight_client.job_calls import JobFailed
from diffsight_client.jobs import Job
from diffsight_client.progress import ProgressBar, Step
from diffsight_client.retries import Retries

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "AsyncJob",
    "BadInput",
    "Busy",
    "Client",
    "ClientError",
    "Conflict",
    "Image",
    "Job",
    "JobFailed",
    "MissingPackage",
    "NotFound",
    "ProgressBar",
    "RequestRefused",
    "Retries",
    "ServerFault",
    "ServerProblem",
    "Step",
    "Unreachable",
]
