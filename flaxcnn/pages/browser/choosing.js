// An image file that somebody chooses, drops or pastes.

/** Call `take(file)` for each; `area` is marked while a file is dragged over the page. */
export function choosable(input, area, take) {
  input.addEventListener("change", () => { if (input.files[0]) take(input.files[0]); });
  addEventListener("paste", (event) => { if (event.clipboardData.files[0]) take(event.clipboardData.files[0]); });
  for (const name of ["dragover", "dragleave", "drop"]) {
    addEventListener(name, (event) => {
      event.preventDefault();
      area.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    });
  }
}
