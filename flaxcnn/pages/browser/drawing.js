// A canvas to draw on with a pointer or a finger, black on white.

/** Make a canvas drawable, and return a function that clears it.
 *  `changed(whole)` is called while somebody draws, and with true when the pen is lifted. */
export function drawable(canvas, changed) {
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let last = null;

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
    changed(false);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => { if (last) { last = null; changed(true); } });
  }
  clear();
  return clear;
}
