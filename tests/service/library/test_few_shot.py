"""Few-shot segmentation and concepts on the real server: stored, changed, deleted, read again; bad values refused."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from heads.outputs import Rle, decode_rle
from tests.conftest import WITHOUT_HEADS, Server, StartServer

ROUTE = "/v1/segmentation/few-shot"


def png(array: NDArray[Any]) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def picture(seed: int, height: int = 60, width: int = 80) -> bytes:
    """Noise with a bright square."""
    pixels = np.random.default_rng(seed).integers(0, 99, (height, width, 3), dtype=np.uint8)
    pixels[10:40, 20:50] = 230
    return png(pixels)


def mask(height: int = 60, width: int = 80) -> bytes:
    """Its mask."""
    values = np.zeros((height, width), np.uint8)
    values[10:40, 20:50] = 255
    return png(values)


def text(*files: bytes) -> list[str]:
    return [base64.b64encode(file).decode() for file in files]


def supports(*seeds: int) -> dict[str, list[str]]:
    return {"images": text(*map(picture, seeds)), "masks": text(*[mask()] * len(seeds))}


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def few_shot_server(start_server: StartServer, weights: Path, data_folder: Path) -> Server:
    return start_server(few_shot={"weights": str(weights)}, data_folder=data_folder, limits={"max_shots": 20})


def add_concept(server: Server, *seeds: int, name: str = "square") -> dict[str, Any]:
    response = server.client.post("/v1/concepts", json={"name": name, **supports(*seeds)})
    assert response.status_code == 201, response.text
    concept: dict[str, Any] = response.json()
    return concept


def segment(server: Server, **options: Any) -> httpx2.Response:
    return server.client.post(ROUTE, json={"image": text(picture(9, 50, 70))[0], **options})


def decode_mask(answer: dict[str, Any], place: int = 0) -> NDArray[np.bool_]:
    rle = answer["concepts"][place]["mask"]["rle"]
    return decode_rle(Rle(**rle))


def test_a_concept_answers_as_its_pictures_do(few_shot_server: Server) -> None:
    concept = add_concept(few_shot_server, 1, 2)
    assert [shot["width"] for shot in concept["shots"]] == [80, 80]
    assert concept["shots"][0]["share"] == pytest.approx(900 / 4800, abs=1e-4)
    by_id = segment(few_shot_server, concepts=[concept["id"]]).json()
    pairs = supports(1, 2)
    inline = segment(few_shot_server, support_images=pairs["images"], support_masks=pairs["masks"]).json()
    assert decode_mask(by_id).shape == (50, 70)
    assert (decode_mask(by_id) == decode_mask(inline)).mean() > 0.99
    assert by_id["concepts"][0]["mask"]["name"] == "square"
    assert by_id["concepts"][0]["shots"] == 2
    assert 0 < by_id["concepts"][0]["presence"] <= 1
    # The bank is cached: one row, for the query alone.
    assert by_id["rows"] == 1


def test_only_new_shots_are_encoded(few_shot_server: Server) -> None:
    concept = add_concept(few_shot_server, 3, 4)
    computed = few_shot_server.state.library.banks.figures.computed
    changed = few_shot_server.client.patch(
        f"/v1/concepts/{concept['id']}", json={**supports(4, 5), "name": "box"}
    ).json()
    assert few_shot_server.state.library.banks.figures.computed == computed + 1
    assert len(changed["shots"]) == 3
    assert changed["name"] == "box"
    assert "was there already" in changed["notes"][0]
    first = changed["shots"][0]["id"]
    fewer = few_shot_server.client.patch(f"/v1/concepts/{concept['id']}", json={"remove_shots": [first]}).json()
    assert [shot["id"] for shot in fewer["shots"]] == [shot["id"] for shot in changed["shots"][1:]]
    assert few_shot_server.client.get(f"/v1/concepts/{concept['id']}").json()["shots"] == fewer["shots"]
    assert few_shot_server.state.library.banks.figures.computed == computed + 1


def test_concepts_and_their_banks_survive_a_restart(
    few_shot_server: Server, start_server: StartServer, weights: Path, data_folder: Path
) -> None:
    concept = add_concept(few_shot_server, 6)
    before = segment(few_shot_server, concepts=[concept["id"]]).json()
    again = start_server(few_shot={"weights": str(weights)}, data_folder=data_folder)
    assert concept["id"] in [concept["id"] for concept in again.client.get("/v1/concepts").json()["concepts"]]
    after = segment(again, concepts=[concept["id"]]).json()
    assert (decode_mask(after) == decode_mask(before)).all()
    assert again.state.library.banks.figures.disk == 1
    assert again.state.library.banks.figures.computed == 0


def test_banks_without_room_are_computed_again(
    few_shot_server: Server, start_server: StartServer, weights: Path, data_folder: Path
) -> None:
    concept = add_concept(few_shot_server, 1, 7)
    none = {"device_cache_bytes": 0, "host_cache_bytes": 0, "disk_cache_bytes": 0, "bank_form": "hidden_states"}
    poor = start_server(few_shot={"weights": str(weights), **none}, data_folder=data_folder)
    for _ in range(2):
        answer = segment(poor, concepts=[concept["id"]]).json()
        assert answer["rows"] == 3
    assert poor.state.library.banks.figures.computed == 4
    # Hidden states give the same mask as keys and values.
    assert (decode_mask(answer) == decode_mask(segment(few_shot_server, concepts=[concept["id"]]).json())).mean() > 0.99


def test_a_full_device_hands_banks_down_to_the_host(
    few_shot_server: Server, start_server: StartServer, weights: Path, data_folder: Path
) -> None:
    concept = add_concept(few_shot_server, 1, 2, 7)
    sizes = [file.stat().st_size for file in (data_folder / "bank").glob("*.safetensors")]
    small = {"device_cache_bytes": int(1.5 * max(sizes)), "disk_cache_bytes": 0}
    server = start_server(few_shot={"weights": str(weights), **small}, data_folder=data_folder)
    segment(server, concepts=[concept["id"]])
    segment(server, concepts=[concept["id"]])
    figures = server.state.library.banks.figures
    assert figures.computed == 3
    assert figures.host >= 2


def test_several_concepts_share_out_the_pixels(few_shot_server: Server) -> None:
    concepts = [add_concept(few_shot_server, 1)["id"], add_concept(few_shot_server, 2, 3, name="other")["id"]]
    answer = segment(few_shot_server, concepts=concepts, threshold_value=0.05).json()
    assert [concept["label"] for concept in answer["concepts"]] == [1, 2]
    assert [concept["mask"]["name"] for concept in answer["concepts"]] == ["square", "other"]
    assert not (decode_mask(answer, 0) & decode_mask(answer, 1)).any()
    body = {"concepts": concepts, "threshold_value": 0.05}
    numbers = np.load(BytesIO(segment(few_shot_server, **body, format="npy").content))
    assert numbers.shape == (50, 70)
    assert ((numbers == 1) == decode_mask(answer, 0)).all()
    shown = Image.open(BytesIO(segment(few_shot_server, **body, format="png").content))
    assert (np.asarray(shown) == numbers).all()


@pytest.mark.parametrize(
    ("form", "kind"), [("png", "image/png"), ("overlay", "image/png"), ("npy", "application/x-npy")]
)
def test_masks_come_as_pictures_and_arrays(few_shot_server: Server, form: str, kind: str) -> None:
    pairs = supports(1)
    response = segment(few_shot_server, support_images=pairs["images"], support_masks=pairs["masks"], format=form)
    assert response.headers["content-type"] == kind
    if form != "npy":
        assert Image.open(BytesIO(response.content)).size == (70, 50)


def test_polygons_come_if_requested(few_shot_server: Server) -> None:
    pairs = supports(1)
    answer = segment(
        few_shot_server, support_images=pairs["images"], support_masks=pairs["masks"], format="polygons"
    ).json()
    assert answer["concepts"][0]["mask"]["polygons"] is not None


def test_forms_with_files_do_what_json_does(few_shot_server: Server) -> None:
    files = [("image", picture(9, 50, 70)), ("support_image", picture(1)), ("support_mask", mask())]
    by_form = few_shot_server.client.post(ROUTE, files=files, data={"name": "box"}).json()
    pairs = supports(1)
    by_json = segment(few_shot_server, support_images=pairs["images"], support_masks=pairs["masks"], name="box").json()
    assert by_form["concepts"] == by_json["concepts"]
    concept = few_shot_server.client.post(
        "/v1/concepts", files=[("image", picture(1)), ("mask", mask())], data={"name": "box"}
    )
    assert concept.status_code == 201, concept.text


def test_the_absolute_threshold_may_find_nothing(few_shot_server: Server) -> None:
    pairs = {"support_images": supports(1)["images"], "support_masks": supports(1)["masks"]}
    relative, absolute = (
        segment(few_shot_server, **pairs, threshold=kind, threshold_value=0.99).json()["concepts"][0]["mask"]["area"]
        for kind in ("relative", "absolute")
    )
    assert absolute <= relative


def test_sampling_changes_no_concept_of_one_shot_in_kind(few_shot_server: Server) -> None:
    concept = add_concept(few_shot_server, 1, 2, 3)
    answers = [segment(few_shot_server, concepts=[concept["id"]], support_sampling=True).json() for _ in range(2)]
    assert answers[0]["concepts"] == answers[1]["concepts"]


def test_a_mask_of_the_whole_picture_is_answered_with_a_note(few_shot_server: Server) -> None:
    full = text(png(np.full((60, 80), 255, np.uint8)))
    answer = segment(few_shot_server, support_images=text(picture(1)), support_masks=full)
    assert answer.status_code == 200, answer.text
    assert "whole picture" in answer.json()["notes"][0]


def test_a_repeated_support_is_taken_once(few_shot_server: Server) -> None:
    pairs = supports(1, 2, 1)
    answer = segment(few_shot_server, support_images=pairs["images"], support_masks=pairs["masks"]).json()
    assert answer["concepts"][0]["shots"] == 2
    assert "support_masks.2: the same" in answer["notes"][0]


def test_many_shots_are_answered_up_to_the_limit(few_shot_server: Server, check_problem: Any) -> None:
    pairs = supports(*range(20, 40))
    assert segment(few_shot_server, support_images=pairs["images"], support_masks=pairs["masks"]).status_code == 200
    many = supports(*range(20, 70))
    for response in (
        segment(few_shot_server, support_images=many["images"], support_masks=many["masks"]),
        few_shot_server.client.post("/v1/concepts", json={"name": "many", **many}),
    ):
        assert "50 supports" in check_problem(response, 422, "invalid-input")["detail"]


@pytest.mark.parametrize(
    ("images", "masks", "field", "message"),
    [
        ([1], [mask(80, 60)], "masks.0", "60 x 80 pixels, its image 80 x 60"),
        ([1, 2], [mask(), mask(60, 81)], "masks.1", "81 x 60 pixels"),
        ([1], [png(np.zeros((60, 80), np.uint8))], "masks.0", "empty"),
        ([1], [mask(), mask()], "masks", "2 masks for 1 images"),
        ([1], [b"no picture"], "masks.0", "no image"),
        ([], [], "images", "at least 1 item"),
    ],
)
def test_supports_that_show_nothing_are_refused(
    few_shot_server: Server, images: list[int], masks: list[bytes], field: str, message: str, check_problem: Any
) -> None:
    body = {"name": "bad", "images": text(*map(picture, images)), "masks": text(*masks)}
    problem = check_problem(few_shot_server.client.post("/v1/concepts", json=body), 422, "invalid-input")
    assert problem["field"] == field
    assert message in problem["detail"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"concepts": ["0123456789abcdef"], **{"support_" + key: value for key, value in supports(1).items()}},
        {"support_images": supports(1)["images"]},
        {"concepts": []},
        {**{"support_" + key: value for key, value in supports(1).items()}, "threshold_value": 1.0},
        {**{"support_" + key: value for key, value in supports(1).items()}, "threshold": "some"},
    ],
)
def test_contradictory_options_are_refused(
    few_shot_server: Server, options: dict[str, Any], check_problem: Any
) -> None:
    check_problem(segment(few_shot_server, **options), 422, "invalid-input")


def test_a_concept_that_is_not_there_is_404_everywhere(few_shot_server: Server, check_problem: Any) -> None:
    concept = add_concept(few_shot_server, 1)["id"]
    assert few_shot_server.client.delete(f"/v1/concepts/{concept}").status_code == 204
    for name in (concept, "../../etc/passwd", "x"):
        check_problem(segment(few_shot_server, concepts=[name]), 404, "nothing-stored")
    check_problem(few_shot_server.client.get(f"/v1/concepts/{concept}"), 404, "nothing-stored")
    check_problem(few_shot_server.client.delete(f"/v1/concepts/{concept}"), 404, "nothing-stored")
    check_problem(few_shot_server.client.patch(f"/v1/concepts/{concept}", json={"name": "x"}), 404, "nothing-stored")


def test_the_last_shot_and_unknown_shots_stay(few_shot_server: Server, check_problem: Any) -> None:
    concept = add_concept(few_shot_server, 1)
    route = f"/v1/concepts/{concept['id']}"
    last = {"remove_shots": [concept["shots"][0]["id"]]}
    assert (
        "no supports" in check_problem(few_shot_server.client.patch(route, json=last), 422, "invalid-input")["detail"]
    )
    check_problem(few_shot_server.client.patch(route, json={"remove_shots": ["x"]}), 422, "invalid-input")
    check_problem(few_shot_server.client.patch(route, json={}), 422, "invalid-input")


def test_a_concept_deleted_while_in_use_answers_or_is_gone(few_shot_server: Server) -> None:
    concept = add_concept(few_shot_server, 1, 2)["id"]
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(segment, few_shot_server, concepts=[concept]) for _ in range(5)]
        deletion = pool.submit(few_shot_server.client.delete, f"/v1/concepts/{concept}")
        statuses = {future.result().status_code for future in answers}
    assert deletion.result().status_code == 204
    assert statuses <= {200, 404}


def test_a_server_without_weights_says_so(start_server: StartServer, check_problem: Any) -> None:
    bare = start_server(backbone=str(WITHOUT_HEADS))
    problem = check_problem(segment(bare, concepts=["0123456789abcdef"]), 404, "model-not-found")
    assert "DIFFSIGHT_FEW_SHOT__WEIGHTS" in problem["hint"]


def test_weights_that_do_not_fit_stop_the_start(start_server: StartServer, tmp_path: Path) -> None:
    broken = start_server(few_shot={"weights": str(tmp_path)})
    assert "holds no U-Net" in str(broken.state.models.failure)
