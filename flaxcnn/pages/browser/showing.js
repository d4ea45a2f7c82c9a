// An answer, as `flaxcnn predict --format jsonl` has it, for people: a line, and a bar for each probability.

const percent = (number) => `${(100 * number).toFixed(1)} %`;
const number = (value) => typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);

function rows(answer) { // [name, text, fraction or null]
  if (answer.top) return answer.top.map((each) => [each.class, percent(each.probability), each.probability]);
  if (answer.objects) return answer.objects.map((each) => [each.class, percent(each.score), each.score]);
  if (answer.labels && answer.probabilities) {
    return Object.entries(answer.probabilities).map(([name, p]) => [name, percent(p), p])
      .sort((a, b) => b[2] - a[2]); // an object has names that are numbers in their order
  }
  const found = [];
  for (const [name, value] of Object.entries(answer)) {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      found.push(...rows(value).map(([inner, text, part]) => [`${name}: ${inner}`, text, part]));
    } else found.push([name, Array.isArray(value) ? value.map(number).join(", ") : number(value), null]);
  }
  return found;
}

/** Show an answer: in `line` what matters, in `bars` all of it. */
export function show(answer, line, bars) {
  const lines = rows(answer);
  line.textContent = answer.top ? `${answer.class ?? "withheld"}, ${percent(answer.probability)}`
    : answer.objects ? Object.entries(answer.counts).filter(([, count]) => count).map(([name, count]) => `${count} ${name}`).join(", ") || "nothing"
    : lines.map(([name, text]) => `${name} ${text}`).slice(0, 3).join("; ");
  bars.replaceChildren(...lines.map(([name, text, part]) => {
    const row = document.createElement("div"), label = document.createElement("span"), value = document.createElement("span");
    row.className = "bar";
    label.textContent = name;
    value.textContent = text;
    const bar = document.createElement(part === null ? "span" : "meter");
    if (part !== null) { bar.value = part; bar.setAttribute("aria-label", `${name}: ${text}`); }
    row.append(label, bar, value);
    return row;
  }));
}
