"use strict";
// One image at a time is asked for; what was drawn meanwhile is asked for next, and nothing in between.
const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), pen = canvas.getContext("2d");
let key = "", waiting = null, busy = false, last = null;

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

async function look(blob, drawn, explain) {
  waiting = { blob, drawn, explain };
  if (busy) return;
  busy = true;
  while (waiting) {
    const now = waiting;
    waiting = null;
    try {
      const query = `look?drawn=${now.drawn ? 1 : 0}&explain=${now.explain ? 1 : 0}`;
      show(await ask(query, { method: "POST", body: now.blob, headers: headers("application/octet-stream") }));
      say("");
    } catch (error) { say(error.message); }
  }
  busy = false;
}

const percent = (number) => `${(100 * number).toFixed(1)} %`;
const number = (value) => typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);

function rows(answer) { // [name, text, fraction or null]
  if (answer.top) return answer.top.map((each) => [each.class, percent(each.probability), each.probability]);
  if (answer.labels && answer.probabilities) {
    return Object.entries(answer.probabilities).map(([name, p]) => [name, percent(p), p]);
  }
  const found = [];
  for (const [name, value] of Object.entries(answer)) {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      found.push(...rows(value).map(([inner, text, part]) => [`${name}: ${inner}`, text, part]));
    } else found.push([name, Array.isArray(value) ? value.map(number).join(", ") : number(value), null]);
  }
  return found;
}

function show(found) {
  const { answer, seen, layers, explanation } = found;
  const lines = rows(answer);
  $("answer").textContent = answer.top ? `${answer.class ?? "withheld"}, ${percent(answer.probability)}`
    : lines.map(([name, text]) => `${name} ${text}`).slice(0, 3).join("; ");
  $("bars").replaceChildren(...lines.map(([name, text, part]) => {
    const row = document.createElement("div"), label = document.createElement("span"), value = document.createElement("span");
    row.className = "bar";
    label.textContent = name;
    value.textContent = text;
    const bar = document.createElement(part === null ? "span" : "meter");
    if (part !== null) { bar.value = part; bar.setAttribute("aria-label", `${name}: ${text}`); }
    row.append(label, bar, value);
    return row;
  }));
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

function clear() {
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.strokeStyle = pen.fillStyle = "#000";
  pen.lineWidth = 20;
  pen.lineCap = pen.lineJoin = "round";
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}

function drawn(explain) { canvas.toBlob((blob) => look(blob, true, explain), "image/png"); }

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  last = place(event);
  pen.beginPath();
  pen.arc(...last, 10, 0, 2 * Math.PI);
  pen.fill();
});
canvas.addEventListener("pointermove", (event) => {
  if (!last) return;
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...(last = place(event)));
  pen.stroke();
  if (!busy) drawn(false);
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => { if (last) { last = null; drawn(true); } });
}
$("clear").addEventListener("click", () => {
  clear();
  $("answer").textContent = "Nothing yet.";
  for (const id of ["bars", "layers"]) $(id).replaceChildren();
  for (const id of ["seen", "why"]) $(id).removeAttribute("src");
  $("why-text").textContent = "";
});

$("file").addEventListener("change", (event) => { if (event.target.files[0]) look(event.target.files[0], false, true); });
addEventListener("paste", (event) => { if (event.clipboardData.files[0]) look(event.clipboardData.files[0], false, true); });
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) look(event.dataTransfer.files[0], false, true);
  });
}

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
clear();
begin();
