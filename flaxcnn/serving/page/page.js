// The service's page: what is drawn or chosen goes to /look, and what comes back is shown.
import { oneAtATime } from "./asking.js";
import { choosable } from "./choosing.js";
import { drawable } from "./drawing.js";
import { show } from "./showing.js";

const $ = (id) => document.getElementById(id);
let key = "";

function headers(type) {
  const found = type ? { "content-type": type } : {};
  if (key) found.authorization = `Bearer ${key}`;
  return found;
}

function say(text) { $("error").textContent = text; }

async function ask(path, options) {
  const response = await fetch(path, options);
  const found = await response.json().catch(() => ({}));
  if (response.status === 401) $("key").hidden = false;
  if (!response.ok) throw new Error([found.error?.what, found.error?.found].filter(Boolean).join(": ") || `error ${response.status}`);
  return found;
}

const look = oneAtATime(async ({ blob, drawn, explain }) => {
  const query = `look?drawn=${drawn ? 1 : 0}&explain=${explain ? 1 : 0}`;
  showAll(await ask(query, { method: "POST", body: blob, headers: headers("application/octet-stream") }));
}, say);

function showAll({ answer, seen, layers, explanation }) {
  show(answer, $("answer"), $("bars"));
  $("seen").src = seen;
  $("seen").alt = "The image as the network takes it";
  if (explanation) {
    $("why").src = explanation.picture;
    $("why").alt = `What speaks for ${explanation.of}`;
    $("why-text").textContent = explanation.method === "occlusion"
      ? `Red: covering it makes ${explanation.of} less likely; blue: more.` : `Yellow: what ${explanation.of} rests on (Grad-CAM).`;
  } else {
    $("why").removeAttribute("src");
    $("why-text").textContent = "";
  }
  $("layers").replaceChildren(...layers.map((layer) => {
    const item = document.createElement("li"), figure = document.createElement("figure");
    const picture = document.createElement("img"), caption = document.createElement("figcaption");
    picture.src = layer.picture;
    caption.textContent = `${layer.name}  ${layer.shape.join(" × ")}`;
    picture.alt = `Activations of ${caption.textContent}`;
    figure.append(picture, caption);
    item.append(figure);
    return item;
  }));
}

const clear = drawable($("canvas"), (whole) => {
  if (whole || !look.busy()) $("canvas").toBlob((blob) => look({ blob, drawn: true, explain: whole }), "image/png");
});
$("clear").addEventListener("click", () => {
  clear();
  $("answer").textContent = "Nothing yet.";
  for (const id of ["bars", "layers"]) $(id).replaceChildren();
  for (const id of ["seen", "why"]) $(id).removeAttribute("src");
  $("why-text").textContent = "";
});
choosable($("file"), $("drop"), (file) => look({ blob: file, drawn: false, explain: true }));

async function begin() {
  try {
    const model = await ask("model", { headers: headers() });
    const [height, width, channels] = model.image_shape;
    $("model").textContent = `${model.model}: ${model.task}`;
    $("about").textContent = `${model.parameters.toLocaleString("en")} parameters, images of ${height} × ${width} × ${channels}`;
    $("seen-size").textContent = `${height} × ${width} × ${channels}`;
    $("drawing").hidden = !model.draws;
    $("key").hidden = true;
    say("");
  } catch (error) { say(error.message); }
}
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key-value").value;
  begin();
});
begin();
