// From the network's outputs to an answer, as `Task.answers` of the library gives it.

const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

function softmax(logits) {
  const most = Math.max(...logits), shares = logits.map((logit) => Math.exp(logit - most));
  const sum = shares.reduce((all, each) => all + each, 0);
  return shares.map((share) => share / sum);
}

/** Return positions, that of the largest number first; of the same numbers the first first. */
const ranked = (numbers) => numbers.map((_, place) => place).sort((a, b) => numbers[b] - numbers[a] || a - b);

const KINDS = {
  classification({ output, names, temperature, top }, outputs) {
    const of = softmax(outputs[output].map((logit) => logit / temperature));
    const best = ranked(of).slice(0, top).map((place) => ({ class: names[place], probability: of[place] }));
    return { ...best[0], top: best };
  },
  multilabel({ output, names, temperature, thresholds }, outputs) {
    const logits = outputs[output], of = logits.map((logit) => sigmoid(logit / temperature)), order = ranked(of);
    return {
      labels: order.filter((place) => logits[place] > thresholds[place]).map((place) => names[place]),
      probabilities: Object.fromEntries(order.map((place) => [names[place], of[place]])),
    };
  },
  regression({ output, names, half_widths: widths }, outputs) {
    const numbers = outputs[output];
    const ends = names.map((name, place) => [name, [numbers[place] - widths[place], numbers[place] + widths[place]]])
      .filter((_, place) => widths[place] !== null);
    const answer = { numbers: Object.fromEntries(names.map((name, place) => [name, numbers[place]])) };
    return ends.length ? { ...answer, interval_90: Object.fromEntries(ends) } : answer;
  },
  detection({ names, thresholds }, { boxes, scores, classes }) {
    const named = classes.map((_, place) => place).filter((place) => classes[place] >= 0 && scores[place] >= thresholds[classes[place]]);
    return {
      objects: named.map((place) => ({
        class: names[classes[place]], score: scores[place], box: boxes.slice(4 * place, 4 * place + 4),
      })),
      counts: Object.fromEntries(names.map((name, of) => [name, named.filter((place) => classes[place] === of).length])),
    };
  },
  several: ({ heads }, outputs) => Object.fromEntries(heads.map((head) => [head.name, answerOf(head.answer, outputs)])),
  own: ({ outputs: names }, outputs) => Object.fromEntries(
    Object.entries(names).map(([name, output]) => [name, outputs[output].length === 1 ? outputs[output][0] : outputs[output]])),
};

/** Return the answer for one image.
 *  `form` says how (`model.json`), `outputs` are the network's, arrays of numbers by name. */
export function answerOf(form, outputs) { return KINDS[form.kind](form, outputs); }
