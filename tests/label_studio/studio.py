"""Label Studio's own routes, as its pages and its SDK call them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import APIRequestContext, Page

from tests.label_studio.servers import EMAIL, PASSWORD

# As docs/annotation-tools.md has it.
POINTS = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="kp_bbox" toName="image"><Label value="person"/></RectangleLabels>
  <KeyPointLabels name="kp" toName="image">
    <Label value="nose" model_index="0"/>
    <Label value="left_wrist" model_index="9"/>
    <Label value="right_wrist" model_index="10"/>
  </KeyPointLabels>
</View>"""

CHOICES = """<View>
  <Image name="image" value="$image"/>
  <Choices name="choice" toName="image"><Choice value="red"/><Choice value="blue"/></Choices>
</View>"""


class Studio:
    """A person who is signed in with a browser, and the personal token that the account's page gave."""

    def __init__(self, page: Page, requests: APIRequestContext, url: str) -> None:
        self.page, self.requests, self.url = page, requests, url
        page.goto(f"{url}/user/login/")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "login" not in address)
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        headers = {"X-CSRFToken": cookies.get("csrftoken", ""), "Referer": url}
        answer = page.context.request.post(f"{url}/api/token/", headers=headers)
        assert answer.ok, answer.text()
        self.token: str = answer.json()["token"]
        self._access, self._until = "", 0.0

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer of one of Label Studio's routes."""
        if time.monotonic() > self._until:
            answer = self.requests.post(f"{self.url}/api/token/refresh", data={"refresh": self.token})
            self._access, self._until = answer.json()["access"], time.monotonic() + 120
        headers = {"Authorization": f"Bearer {self._access}"}
        answer = self.requests.fetch(
            f"{self.url}/api/{path}", method=method, headers=headers, timeout=300_000, **options
        )
        assert answer.ok, f"{method} {path}: {answer.status} {answer.text()[:500]}"
        return answer.json() if answer.body() else None

    def add_project(self, title: str, config: str) -> int:
        """A new project; its id."""
        made: int = self.call("POST", "projects/", data={"title": title, "label_config": config})["id"]
        return made

    def connect(self, project: int, backend: str) -> None:
        """Connect the ML backend, for automatic annotation too."""
        about = {"url": f"{backend}/label-studio", "project": project, "title": "diffsight", "is_interactive": True}
        self.call("POST", "ml/", data=about)

    def connect_folder(self, project: int, folder: Path) -> None:
        """Let the project show files of a folder on Label Studio's disk."""
        about = {"project": project, "path": str(folder), "title": "photos", "use_blob_urls": True}
        self.call("POST", "storages/localfiles/", data=about)

    def upload(self, project: int, files: list[Path]) -> list[int]:
        """Upload images, a task each; the tasks' ids."""
        for file in files:
            sent = {"file": {"name": file.name, "mimeType": "image/png", "buffer": file.read_bytes()}}
            self.call("POST", f"projects/{project}/import", multipart=sent)
        return self.tasks(project)

    def import_tasks(self, project: int, tasks: Any) -> list[int]:
        """Import tasks as JSON; all tasks' ids."""
        sent = {"name": "tasks.json", "mimeType": "application/json", "buffer": json.dumps(tasks).encode()}
        self.call("POST", f"projects/{project}/import", multipart={"file": sent})
        return self.tasks(project)

    def tasks(self, project: int) -> list[int]:
        """The ids of a project's tasks, oldest first."""
        listed = self.call("GET", f"tasks/?project={project}&page_size=10000&fields=all")
        return sorted(task["id"] for task in listed["tasks"])

    def task(self, task: int) -> Any:
        """A task with its predictions, annotations and drafts."""
        return self.call("GET", f"tasks/{task}/")

    def retrieve(self, project: int) -> None:
        """What the data manager's action Retrieve Predictions does, for all tasks."""
        everything = {"selectedItems": {"all": True, "excluded": []}, "project": str(project)}
        self.call("POST", f"dm/actions?id=retrieve_tasks_predictions&project={project}", data=everything)

    def predictions(self, project: int) -> list[Any]:
        """All predictions that Label Studio keeps for a project."""
        kept: list[Any] = self.call("GET", f"predictions/?project={project}")
        return kept
