// The page: the model is loaded once, and then each image is decoded, fitted and answered for within the page.
import { answerOf } from "./answers.js";
import { oneAtATime } from "./asking.js";
import { choosable } from "./choosing.js";
import { digit } from "./digits.js";
import { drawable } from "./drawing.js";
import { decoded, fitted } from "./pixels.js";
import { env, InferenceSession, Tensor } from "./runtime/ort.wasm.bundle.min.js";
import { show } from "./showing.js";

const $ = (id) => document.getElementById(id);
const NOTHING = $("answer").textContent;
env.wasm.numThreads = 1; // more take headers that most static hosts do not send

async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} is missing on this site: error ${response.status}`);
  return response;
}

async function loaded() {
  const model = await (await fetched("model.json")).json(), { height, width, channels } = model.images;
  $("model").textContent = document.title = model.title;
  $("about").textContent = `${model.parameters.toLocaleString("en")} parameters, images of ${height} × ${width} × ${channels}`;
  $("seen-size").textContent = `${height} × ${width} × ${channels}`;
  $("drawing").hidden = !model.draws;
  $("answer").textContent = "The model is loading.";
  const bytes = new Uint8Array(await (await fetched("model.onnx")).arrayBuffer());
  const session = await InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  $("answer").textContent = NOTHING;
  return { model, session };
}

function showSeen(pixels, { height, width, channels }) {
  const canvas = $("seen"), seen = new ImageData(width, height);
  for (let at = 0; at < height * width; at++) {
    for (let colour = 0; colour < 3; colour++) seen.data[4 * at + colour] = pixels[at * channels + (channels === 1 ? 0 : colour)];
    seen.data[4 * at + 3] = 255;
  }
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(seen, 0, 0);
  canvas.hidden = false;
}

/** Draw the boxes of an answer, if it has any, on what the network sees. */
function showObjects({ objects }) {
  const pen = $("seen").getContext("2d");
  for (const { class: name, box: [top, left, bottom, right] } of objects ?? []) {
    pen.strokeStyle = pen.fillStyle = "#00c853";
    pen.lineWidth = 2;
    pen.strokeRect(left, top, right - left, bottom - top);
    pen.font = "bold 12px sans-serif";
    pen.fillText(name, left + 3, Math.max(top + 12, 12));
  }
}

const ready = loaded();
ready.catch((error) => { $("answer").textContent = NOTHING; $("error").textContent = error.message; });

/** Return the answer for RGBA pixels, which are a drawing or of a file. */
async function answered(image, drawn) {
  const { model, session } = await ready, { height, width, channels } = model.images;
  const pixels = drawn || model.prepare === "digits" ? digit(image) : fitted(image, model.images);
  const found = await session.run({ images: new Tensor("uint8", pixels, [1, height, width, channels]) });
  showSeen(pixels, model.images);
  const outputs = Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, Array.from(tensor.data, Number)]));
  const answer = answerOf(model.answer, outputs);
  showObjects(answer);
  return answer;
}

const look = oneAtATime(async ({ file, image }) => {
  await ready;
  show(await answered(image ?? await decoded(file), !file), $("answer"), $("bars"));
}, (text) => { $("error").textContent = text; });

const canvas = $("canvas");
const clear = drawable(canvas, (whole) => {
  if (whole || !look.busy()) look({ image: canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height) });
});
$("clear").addEventListener("click", () => {
  clear();
  $("answer").textContent = NOTHING;
  $("bars").replaceChildren();
  $("seen").hidden = true;
});
choosable($("file"), $("drop"), (file) => look({ file }));
