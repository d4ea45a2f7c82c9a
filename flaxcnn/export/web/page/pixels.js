// From an image file to the pixels that the network takes: as `flaxcnn.data.photographs.decoding` does it, with Pillow's
// arithmetic, number for number. What decodes JPEG is the browser's, and may differ by a few steps of 255.

const MOST_PIXELS = 1 << 26, PADDING = 114, CENTRAL = 7 / 8, BITS = 22; // as they are there; of Pillow's fixed point

/** Round as Python does: a half to the even number. */
export function rounded(number) {
  const down = Math.floor(number), half = number - down === 0.5;
  return half ? down + (down % 2 === 0 ? 0 : 1) : Math.round(number);
}

/** Return an image file's pixels: {width, height, data} with RGBA, upright. */
export async function decoded(file) {
  let picture;
  try {
    const asStored = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" };
    picture = await createImageBitmap(file, asStored);
  } catch { throw new Error("This is no image that the browser can read."); }
  const { width, height } = picture;
  if (width * height > MOST_PIXELS) throw new Error(`This image is too large: ${width} × ${height}.`);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  picture.close();
  return pen.getImageData(0, 0, width, height);
}

/** Return {width, height, channels, data} of RGBA pixels: gray by ITU-R 601, or RGB; alpha is dropped. */
export function ofChannels({ width, height, data }, channels) {
  const out = new Uint8Array(width * height * channels);
  for (let at = 0, to = 0; at < data.length; at += 4) {
    const red = data[at], green = data[at + 1], blue = data[at + 2];
    if (channels === 1) out[to++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    else { out[to++] = red; out[to++] = green; out[to++] = blue; }
  }
  return { width, height, channels, data: out };
}

/** Return which part of an image is shown, and where: {taken, shown}, both [top, left, bottom, right]. */
export function placement(height, width, form) {
  const whole = [0, 0, height, width];
  if (form.fit === "letterbox" || form.fit === "pad") {
    const scale = Math.min(form.height / height, form.width / width, form.fit === "pad" ? 1 : Infinity);
    const down = Math.max(1, Math.min(form.height, rounded(height * scale)));
    const across = Math.max(1, Math.min(form.width, rounded(width * scale)));
    const top = Math.floor((form.height - down) / 2), left = Math.floor((form.width - across) / 2);
    return { taken: whole, shown: [top, left, top + down, left + across] };
  }
  const shown = [0, 0, form.height, form.width];
  if (form.fit === "stretch") return { taken: whole, shown };
  let scale = Math.max(form.height / height, form.width / width);
  if (form.fit === "imagenet") scale /= CENTRAL;
  const down = Math.min(height, form.height / scale), across = Math.min(width, form.width / scale);
  const top = (height - down) / 2, left = (width - across) / 2;
  return { taken: [top, left, top + down, left + across], shown };
}

/** Return RGBA pixels as the network takes them, uint8 (height, width, channels), one after the other. */
export function fitted(image, form) {
  const own = ofChannels(image, form.channels);
  const { taken, shown: [top, left, bottom, right] } = placement(image.height, image.width, form);
  const [height, width] = [bottom - top, right - left];
  const inside = resized(own, height, width, taken, BICUBIC);
  if (height === form.height && width === form.width) return inside;
  const out = new Uint8Array(form.height * form.width * form.channels), colour = new Uint8Array(form.channels).fill(PADDING);
  if (form.fit === "pad") border(inside, height, width, colour);
  for (let at = 0; at < out.length; at++) out[at] = colour[at % form.channels];
  for (let row = 0; row < height; row++) {
    const line = inside.subarray(row * width * form.channels, (row + 1) * width * form.channels);
    out.set(line, ((top + row) * form.width + left) * form.channels);
  }
  return out;
}

/** Set `colour` to the median colour of an image's first and last row and column, the lower of two. */
function border(pixels, height, width, colour) {
  const places = [];
  for (let column = 0; column < width; column++) places.push(column, (height - 1) * width + column);
  for (let row = 0; row < height; row++) places.push(row * width, (row + 1) * width - 1);
  colour.forEach((_, channel) => {
    const values = places.map((place) => pixels[place * colour.length + channel]).sort((a, b) => a - b);
    colour[channel] = values[(values.length - 1) >> 1];
  });
}

const BICUBIC = { support: 2, weight(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
} };
export const BOX = { support: 0.5, weight: (x) => x > -0.5 && x <= 0.5 ? 1 : 0 };

/** Return, of each pixel of a resized side, the first that it is a sum of, and their weights. */
function weights(size, from, to, count, filter) {
  [from, to] = [Math.fround(from), Math.fround(to)]; // as Pillow has them
  const scale = Math.fround(to - from) / count, wide = Math.max(1, scale), support = filter.support * wide;
  return Array.from({ length: count }, (_, place) => {
    const middle = from + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(middle - support + 0.5));
    const end = Math.min(size, Math.trunc(middle + support + 0.5));
    const found = [];
    let sum = 0;
    for (let at = first; at < end; at++) {
      const weight = filter.weight((at - middle + 0.5) * (1 / wide));
      found.push(weight);
      sum += weight;
    }
    return { first, found: sum === 0 ? found : found.map((weight) => weight / sum) };
  });
}

const whole = (weight) => Math.trunc(weight * (1 << BITS) + (weight < 0 ? -0.5 : 0.5));
const clipped = (sum) => Math.max(0, Math.min(255, Math.floor(sum / (1 << BITS))));

/** Return an image of another size: of bytes in fixed point, of floats in floats; rows after columns, as Pillow. */
export function resized({ width, height, channels, data }, rows, columns, [top, left, bottom, right], filter) {
  const bytes = data instanceof Uint8Array, [start, done] = bytes ? [1 << (BITS - 1), clipped] : [0, Math.fround];
  const weighed = (found) => bytes ? found.map(whole) : found;
  const across = new data.constructor(height * columns * channels);
  weights(width, left, right, columns, filter).forEach(({ first, found }, column) => {
    found = weighed(found);
    for (let row = 0; row < height; row++) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = start, at = (row * width + first) * channels + channel;
        for (const weight of found) { sum += data[at] * weight; at += channels; }
        across[(row * columns + column) * channels + channel] = done(sum);
      }
    }
  });
  const line = columns * channels, out = new data.constructor(rows * line);
  weights(height, top, bottom, rows, filter).forEach(({ first, found }, row) => {
    found = weighed(found);
    for (let place = 0; place < line; place++) {
      let sum = start, at = first * line + place;
      for (const weight of found) { sum += across[at] * weight; at += line; }
      out[row * line + place] = done(sum);
    }
  });
  return out;
}
