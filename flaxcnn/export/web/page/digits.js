// A photographed or drawn digit as MNIST has them: as `flaxcnn.prediction.digits` does it, which says where it is from.
import { BOX, fitted, resized, rounded } from "./pixels.js";

const SIDE = 28, INNER = 20, MOST = 1024, LEAST_CONTRAST = 16;

function median(values) {
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Return the threshold that divides 256 gray values into the two classes that differ most (Otsu). */
function otsu(gray) {
  const counts = new Float64Array(256);
  for (const value of gray) counts[value] += 1;
  const total = gray.length, all = counts.reduce((sum, count, value) => sum + count * value, 0);
  let below = 0, sums = 0, best = -1, found = 0;
  counts.forEach((count, value) => {
    below += count;
    sums += count * value;
    const above = total - below;
    if (below === 0 || above === 0) return;
    const apart = sums / below - (all - sums) / above, between = below * above * (apart * apart);
    if (between > best) [best, found] = [between, value];
  });
  return found + 0.5;
}

/** Return a digit's pixels, uint8 (28, 28), of RGBA pixels; an error where nothing is written. */
export function digit(image) {
  const scale = Math.min(1, MOST / Math.max(image.height, image.width));
  const [height, width] = [image.height, image.width].map((side) => Math.max(1, rounded(side * scale)));
  let gray = fitted(image, { height, width, channels: 1, fit: "stretch" });
  const edge = [...gray.subarray(0, width), ...gray.subarray((height - 1) * width)];
  for (let row = 0; row < height; row++) edge.push(gray[row * width], gray[(row + 1) * width - 1]);
  let [least, most] = [255, 0];
  for (const value of gray) [least, most] = [Math.min(least, value), Math.max(most, value)];
  if (median(edge) > (least + most) / 2) gray = gray.map((value) => 255 - value); // dark ink on light paper
  const threshold = otsu(gray);
  const paper = median(gray.filter((value) => value <= threshold)), written = median(gray.filter((value) => value > threshold));
  if (!(written - paper >= LEAST_CONTRAST)) throw new Error("Nothing is written on it."); // NaN where one side is empty
  const middle = (paper + threshold) / 2;
  let [top, bottom, left, right] = [height, -1, width, -1];
  gray.forEach((value, at) => {
    if (value <= threshold) return;
    const row = Math.floor(at / width), column = at % width;
    [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
    [left, right] = [Math.min(left, column), Math.max(right, column)];
  });
  const box = { height: bottom - top + 1, width: right - left + 1, channels: 1 };
  box.data = new Float32Array(box.height * box.width).map((_, at) => {
    const value = gray[(top + Math.floor(at / box.width)) * width + left + at % box.width];
    return Math.max(0, Math.min(1, (value - middle) / (written - middle)));
  });
  const fits = INNER / Math.max(box.height, box.width);
  const [rows, columns] = [box.height, box.width].map((side) => Math.max(1, rounded(side * fits)));
  return centred(resized(box, rows, columns, [0, 0, box.height, box.width], BOX), rows, columns);
}

/** Return 28×28 pixels with the centre of mass of what is given at their middle, as far as it lies within. */
function centred(small, rows, columns) {
  let [total, down, across] = [0, 0, 0];
  small.forEach((value, at) => {
    total += value;
    down += value * (Math.floor(at / columns) + 0.5);
    across += value * (at % columns + 0.5);
  });
  const within = (middle, side) => Math.min(Math.max(rounded(SIDE / 2 - middle), 0), SIDE - side);
  const top = within(down / total, rows), left = within(across / total, columns);
  const out = new Uint8Array(SIDE * SIDE);
  small.forEach((value, at) => {
    out[(top + Math.floor(at / columns)) * SIDE + left + at % columns] = rounded(255 * value);
  });
  return out;
}
