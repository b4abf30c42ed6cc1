// The page around the views: buttons, keys, the track of steps.

const VIEWS = { conv, pool, linear, plain };

function draw() {
  const step = data.steps[state.step], forward = step.direction === "forward";
  let view = VIEWS[step.view](step);
  if (state.position >= view.count) { state.position = 0; view = VIEWS[step.view](step); }
  $("head").className = `head ${step.direction}`;
  $("title").replaceChildren(`${step.layer} `, element("span", { class: "direction" }, step.direction),
    element("small", {}, step.layer === step.type ? step.source : `${step.type}, ${step.source}`));
  $("formula").replaceChildren(listing(step.lines));
  $("count").textContent = `${state.step + 1} of ${data.steps.length}`;
  $("steps").value = state.step;
  $("previous").disabled = state.step === 0;
  $("next").disabled = state.step === data.steps.length - 1;
  for (const button of document.querySelectorAll(".track button")) {
    if (Number(button.dataset.step) === state.step) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  }
  choices("filter", view.filters);
  choices("map", view.maps);
  $("controls").hidden = view.count <= 1 && view.filters <= 1 && view.maps <= 1;
  $("position").max = view.count - 1;
  $("position").value = state.position;
  $("position").setAttribute("aria-valuetext", view.where);
  $("before").disabled = state.position === 0;
  $("after").disabled = state.position >= view.count - 1;
  $("where").textContent = view.count > 1 ? view.where : "";
  $("arithmetic").textContent = view.lines.join("\n");
  const notes = [`Keys: ← → steps, ↑ ↓ positions; a click into ${forward ? "y" : "grad_y"} lights its position.`];
  if (data.pictures > 1) notes.push(`Shown: the first of ${counted(data.pictures, "picture")}; parameters' gradients sum over all.`);
  const cut = Object.values(step.parts).filter((p) => String(p.shape) !== String(p.full));
  if (cut.length) notes.push("Large arrays are shown in part.");
  $("notes").textContent = notes.join("  ");
  panels(view.grids);
}

/** The arrays side by side; more than five in two rows, with nothing but their names. */
function panels(grids) {
  const main = $("panels"), two = grids.length > 5, first = two ? Math.ceil(grids.length / 2) : grids.length;
  main.replaceChildren();
  main.className = two ? "two" : "";
  for (const row of two ? [grids.slice(0, first), grids.slice(first)] : [grids]) {
    const into = two ? element("div") : main;
    if (two) main.append(into);
    const room = main.clientWidth - 60 - 34 * (row.length - 1), shares = sum(row.map((g) => g.weight));
    const cutLine = row.some((g) => g.cut) ? 24 : 0;
    const height = two ? (main.clientHeight - 18) / 2 - 36 - cutLine : main.clientHeight - 96 - cutLine;
    for (const g of row) if (two) g.note = String(g.note ?? "").replace(/, map \d+$/, "");
    for (const g of row) into.append(grid(g, Math.max(60, (room * g.weight) / shares), height));
  }
}

/** The lines of the source, each with its number; behind a line that does not say so itself, what it makes. */
function listing(lines) {
  const list = element("ol");
  for (const { number, text, of } of lines) {
    const item = element("li");
    item.append(element("b", {}, String(number)), text);
    if (!text.startsWith(of)) item.append(element("i", {}, `  →\u00a0${of}`));
    list.append(item);
  }
  return list;
}

/** Fill a <select> with 0 ... count - 1; hide it when there is nothing to choose. */
function choices(name, count) {
  const select = $(name);
  $(`${name}-label`).hidden = count <= 1;
  if (select.length !== count)
    select.replaceChildren(...Array.from({ length: count }, (_, k) => element("option", { value: k }, String(k))));
  select.value = Math.min(state[name], Math.max(count - 1, 0));
}

function go(step) {
  state.step = Math.min(Math.max(step, 0), data.steps.length - 1);
  state.position = 0;
  draw();
}

function move(position) {
  state.position = Math.min(Math.max(position, 0), Number($("position").max));
  draw();
}

data.steps.forEach((step, k) => {
  const text = `${step.layer}, ${step.direction}`;
  $("steps").append(element("option", { value: k }, text));
  const button = element("button", { "data-step": k, "aria-label": text, title: text });
  button.addEventListener("click", () => go(k));
  if (step.direction === "forward") $("track-forward").append(button);
  else $("track-backward").prepend(button); // under its layer: the way back runs from right to left
});
for (const way of ["forward", "backward"]) { // hundreds of layers have room too
  const row = $(`track-${way}`);
  row.style.gap = `${Math.min(3, Math.floor(300 / row.childElementCount))}px`;
}
$("steps").addEventListener("change", (event) => go(Number(event.target.value)));
$("previous").addEventListener("click", () => go(state.step - 1));
$("next").addEventListener("click", () => go(state.step + 1));
$("before").addEventListener("click", () => move(state.position - 1));
$("after").addEventListener("click", () => move(state.position + 1));
$("position").addEventListener("input", (event) => move(Number(event.target.value)));
for (const name of ["filter", "map"])
  $(name).addEventListener("change", (event) => { state[name] = Number(event.target.value); draw(); });
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || event.altKey || event.ctrlKey || event.metaKey) return;
  const keys = { ArrowRight: () => go(state.step + 1), ArrowLeft: () => go(state.step - 1),
                 ArrowDown: () => move(state.position + 1), ArrowUp: () => move(state.position - 1) };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
addEventListener("resize", draw);
draw();
