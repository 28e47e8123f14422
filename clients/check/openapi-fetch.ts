// Calls a server by openapi-fetch, over the types that openapi-typescript made.
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { paths } from "./schema/schema";

const [url, path] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url });
// The types call a file a string, as JSON Schema does; a form takes it as it is.
const picture = () => new File([readFileSync(path)], "a.png", { type: "image/png" }) as unknown as string;

type Answer<T> = Promise<{ data?: T; error?: unknown }>;

async function made<T>(name: string, answer: Answer<T>, right: (data: T) => unknown): Promise<void> {
  const { data, error } = await answer.catch((error: unknown) => ({ data: undefined, error }));
  const good = data !== undefined && (await right(data));
  console.log(good ? `ok ${name}` : `FAILED ${name}: ${String(JSON.stringify(error ?? data)).slice(0, 300)}`);
}

function form(body: Record<string, unknown>): FormData {
  const parts = new FormData();
  for (const [name, value] of Object.entries(body)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      const text = one instanceof Blob || typeof one === "string" ? one : JSON.stringify(one);
      parts.append(name, text);
    }
  }
  return parts;
}

const asForm = { bodySerializer: form };
const asBlob = { ...asForm, parseAs: "blob" } as const;
const isPng = async (data: unknown) => new Uint8Array(await (data as Blob).arrayBuffer())[1] === 0x50;
const image = () => ({ image: picture() });
const labels = ["a red thing", "a blue thing"];
const tree = { animal: ["cat", "dog"], vehicle: ["car", "boat"] };
const post = client.POST;

await made("depth_upload", post("/v1/depth/upload", { body: image(), ...asForm }), (data) => data.statistics.mean > 0);
await made("depth_png16", post("/v1/depth/png16", { body: image(), ...asBlob }), isPng);
await made("depth_overlay", post("/v1/depth/overlay", { body: image(), ...asBlob }), isPng);
const segmentation = "/v1/segmentation/upload";
await made("segmentation_upload", post(segmentation, { body: image(), ...asForm }), (data) => data.segments);
await made("segmentation_png", post("/v1/segmentation/png", { body: image(), ...asBlob }), isPng);
const cup = () => ({ image: picture(), expression: "the cup" });
const referring = "/v1/segmentation/referring/upload";
await made("referring_upload", post(referring, { body: cup(), ...asForm }), (data) => data.masks.length === 1);
await made("referring_png", post("/v1/segmentation/referring/png", { body: cup(), ...asBlob }), isPng);
const shown = () => ({ image: picture(), support_images: [picture()], support_masks: [picture()] });
const fewShot = "/v1/segmentation/few-shot/upload";
await made("few_shot_segmentation_upload", post(fewShot, { body: shown(), ...asForm }), (data) => data.concepts);
await made("few_shot_segmentation_png", post("/v1/segmentation/few-shot/png", { body: shown(), ...asBlob }), isPng);
await made("pose_upload", post("/v1/pose/upload", { body: image(), ...asForm }), (data) => data.persons);
await made("pose_coco", post("/v1/pose/coco", { body: image(), ...asForm }), (data) => data.annotations);
await made("pose_overlay", post("/v1/pose/overlay", { body: image(), ...asBlob }), isPng);
const many = { image: [picture()] };
await made("features_upload", post("/v1/features/upload", { body: many, ...asForm }), (data) => data.vectors.length);
const zeroShot = { body: { image: picture(), labels }, ...asForm };
await made("zero_shot_upload", post("/v1/classify/zero-shot/upload", zeroShot), (data) => data.label);
const labelTree = { body: { image: picture(), tree }, ...asForm };
await made("label_tree_upload", post("/v1/classify/label-tree/upload", labelTree), (data) => data.path.length);
const captions = { body: { image: [picture()], captions: ["a", "b"], interval: 250 }, ...asForm };
await made("match_image_text_upload", post("/v1/match/image-text/upload", captions), (data) => data.scores.length);
const perceive = { body: { image: picture(), tasks: { depth: {} } }, ...asForm };
await made("perceive_upload", post("/v1/perceive/upload", perceive), (data) => data.depth);
const job = { body: { file: [picture()], task: "features" }, ...asForm };
await made("begin_job_upload", post("/v1/jobs/upload", job), (data) => data.id);
