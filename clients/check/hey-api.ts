// Calls a server by the client that @hey-api/openapi-ts made.
import { readFileSync } from "node:fs";
import { client } from "./hey/client.gen";
import * as api from "./hey/sdk.gen";

const [url, path] = process.argv.slice(2);
client.setConfig({ baseUrl: url });
const picture = () => new File([readFileSync(path)], "a.png", { type: "image/png" });

type Answer<T> = Promise<{ data?: T; error?: unknown }>;

async function made<T>(name: string, answer: Answer<T>, right: (data: T) => unknown): Promise<void> {
  const { data, error } = await answer.catch((error: unknown) => ({ data: undefined, error }));
  const good = data !== undefined && (await right(data));
  console.log(good ? `ok ${name}` : `FAILED ${name}: ${String(JSON.stringify(error ?? data)).slice(0, 300)}`);
}

const isPng = async (data: Blob | File) => new Uint8Array(await data.arrayBuffer())[1] === 0x50;
const labels = ["a red thing", "a blue thing"];
const tree = { animal: ["cat", "dog"], vehicle: ["car", "boat"] };

await made("depth_upload", api.depthUpload({ body: { image: picture() } }), (data) => data.statistics.mean > 0);
await made("depth_png16", api.depthPng16({ body: { image: picture() } }), isPng);
await made("depth_overlay", api.depthOverlay({ body: { image: picture() } }), isPng);
await made("depth_image", api.depthImage({ body: picture() }), (data) => data.statistics.mean > 0);
await made("segmentation_upload", api.segmentationUpload({ body: { image: picture() } }), (data) => data.segments);
await made("segmentation_png", api.segmentationPng({ body: { image: picture() } }), isPng);
const cup = () => ({ image: picture(), expression: "the cup" });
await made("referring_upload", api.referringUpload({ body: cup() }), (data) => data.masks.length === 1);
await made("referring_png", api.referringPng({ body: cup() }), isPng);
const shown = () => ({ image: picture(), support_images: [picture()], support_masks: [picture()] });
await made("few_shot_segmentation_upload", api.fewShotSegmentationUpload({ body: shown() }), (data) => data.concepts);
await made("few_shot_segmentation_png", api.fewShotSegmentationPng({ body: shown() }), isPng);
await made("pose_upload", api.poseUpload({ body: { image: picture() } }), (data) => data.persons);
await made("pose_coco", api.poseCoco({ body: { image: picture() } }), (data) => data.annotations);
await made("pose_overlay", api.poseOverlay({ body: { image: picture() } }), isPng);
await made("features_upload", api.featuresUpload({ body: { image: [picture()] } }), (data) => data.vectors.length === 1);
await made("zero_shot_upload", api.zeroShotUpload({ body: { image: picture(), labels } }), (data) => data.label);
await made("label_tree_upload", api.labelTreeUpload({ body: { image: picture(), tree } }), (data) => data.path.length);
const captions = { image: [picture()], captions: ["a", "b"], interval: 250 };
await made("match_image_text_upload", api.matchImageTextUpload({ body: captions }), (data) => data.scores.length);
const tasks = { depth: { maps: false } };
await made("perceive_upload", api.perceiveUpload({ body: { image: picture(), tasks } }), (data) => data.depth);
const job = { file: [picture()], task: "features" };
await made("begin_job_upload", api.beginJobUpload({ body: job }), (data) => data.id);
