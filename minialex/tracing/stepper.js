// Steps through one pass of a network. The data stand in the page itself: steps, which name their parts, and arrays,
// base64 of little-endian float32. Nothing is loaded from anywhere.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const state = { step: 0, position: 0, filter: 0, map: 0 };
const $ = (id) => document.getElementById(id);

// ---- numbers ----

const decoded = new Map();
function numbers(id) {
  if (!decoded.has(id)) {
    const bytes = Uint8Array.from(atob(data.arrays[id]), (c) => c.charCodeAt(0));
    decoded.set(id, new Float32Array(bytes.buffer));
  }
  return decoded.get(id);
}

/** A part with a way to read it: at(c, i, j) and the like. */
function part(step, name) {
  const p = step.parts[name];
  if (!p) return null;
  const values = numbers(p.data), shape = p.shape;
  const at = (...index) => values[index.reduce((flat, i, axis) => flat * shape[axis] + i, 0)];
  return { ...p, key: name, values, at };
}

/** A number for people: three digits, a true minus sign. */
function show(v, digits = 3) {
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v < 0 ? "−∞" : "∞";
  let text = Number.isInteger(v) && Math.abs(v) < 1e5 ? String(v) : String(Number(v.toPrecision(digits)));
  if (!Number.isInteger(v) && Math.abs(v) < 1e-3) text = v.toExponential(digits - 2);
  return text.replace("-", "−").replace("e−", "e-").replace("e-", "e−");
}
/** A whole number with its noun, in the singular where it is one. */
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const factor = (v) => (v < 0 ? `(${show(v)})` : show(v));
const product = (a, b) => `${factor(a)}·${factor(b)}`;
const sum = (list) => list.reduce((total, v) => total + v, 0);

/** "a + b + c": as many of the terms as have room in so many characters. */
function terms(list, room = 95) {
  let most = 0;
  for (let used = 0; most < list.length && used < room; most++) used += list[most].length + 3;
  const more = list.length - most;
  return list.slice(0, most).join(" + ") + (more > 0 ? ` + … (${more} more)` : "");
}

// ---- colours: blue, white, red, with 0 in the middle; readable without telling red from green ----

const STOPS = [[33, 102, 172], [146, 197, 222], [255, 255, 255], [244, 165, 130], [178, 24, 43]];
function colour(v, limit) {
  if (Number.isNaN(v) || !Number.isFinite(v)) return [205, 209, 215];
  const place = Math.min(Math.max(v / limit, -1), 1) * 2 + 2, low = Math.min(Math.floor(place), 3);
  return STOPS[low].map((from, k) => Math.round(from + (STOPS[low + 1][k] - from) * (place - low)));
}

// ---- one array as a grid ----

function element(tag, attributes = {}, text = "") {
  const svg = ["svg", "rect", "text", "line"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

/**
 * A heat-map with numbers where they fit. spec: title, note, rows, cols, at(row, col), lit [{r, c, h, w}], limit,
 * pick(row, col) when it may be clicked, cut (what is left out). width, height: the room that it may take.
 */
function grid(spec, width, height) {
  const { rows, cols } = spec;
  let cell = Math.min(width / cols, height / rows, 92);
  let [w, h] = [cell, cell];
  if (spec.stretch) [w, h] = [Math.min(width / cols, 92), Math.min(height / rows, 92)];
  const figure = element("figure", { "data-part": spec.key });
  const caption = element("figcaption", { title: `${spec.title} ${spec.note}` }, spec.title);
  caption.append(element("span", {}, spec.note));
  const box = element("div", { class: "grid", role: "img", style: `width:${w * cols + 2}px;height:${h * rows + 2}px` });
  box.setAttribute("aria-label", `${spec.title}, ${counted(rows, "row")}, ${counted(cols, "column")}`);
  const canvas = element("canvas", { width: cols, height: rows });
  const image = new ImageData(cols, rows);
  let limit = spec.limit || 0;
  if (!spec.limit) for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) {
    const v = Math.abs(spec.at(r, c));
    if (Number.isFinite(v)) limit = Math.max(limit, v);
  }
  limit = limit || 1;
  const svg = element("svg", { viewBox: `0 0 ${w * cols} ${h * rows}`, preserveAspectRatio: "none" });
  const numbered = w >= 34 && h >= 19 && rows * cols <= 600;
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) {
    const v = spec.at(r, c), paint = v === undefined ? [255, 255, 255] : colour(v, limit);
    image.data.set([...paint, 255], 4 * (r * cols + c));
    if (v === undefined || !numbered) continue;
    const text = show(v, w < 40 ? 2 : 3), size = Math.min(22, h * 0.62, (w - 4) / (0.68 * Math.max(text.length, 2)));
    const dark = paint[0] * 0.3 + paint[1] * 0.59 + paint[2] * 0.11 < 130;
    svg.append(element("text", { x: (c + 0.5) * w, y: (r + 0.5) * h, "font-size": size,
                                 fill: dark ? "#fff" : "#1d2129" }, text));
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  if (Math.min(w, h) >= 9 && rows * cols <= 4000) {
    for (let r = 1; r < rows; r++) svg.append(line(0, r * h, cols * w, r * h));
    for (let c = 1; c < cols; c++) svg.append(line(c * w, 0, c * w, rows * h));
  }
  for (const area of spec.lit || []) {
    const [top, left] = [Math.max(area.r, 0), Math.max(area.c, 0)]; // a window may begin in the padding
    const [bottom, right] = [Math.min(area.r + area.h, rows), Math.min(area.c + area.w, cols)];
    if (bottom <= top || right <= left) continue;
    const place = { x: left * w, y: top * h, width: (right - left) * w, height: (bottom - top) * h };
    svg.append(element("rect", { class: "halo", ...place }));
    svg.append(element("rect", { class: "lit", ...place, "data-row": top, "data-col": left,
                                 "data-rows": bottom - top, "data-cols": right - left }));
  }
  if (spec.pick) {
    box.style.cursor = "pointer";
    box.addEventListener("click", (event) => {
      const frame = box.getBoundingClientRect();
      spec.pick(Math.min(rows - 1, Math.floor((event.clientY - frame.top) / h)),
                Math.min(cols - 1, Math.floor((event.clientX - frame.left) / w)));
    });
  }
  const legend = element("div", { class: "legend" });
  legend.append(element("span", {}, show(-limit, 2)), element("i"), element("span", {}, show(limit, 2)));
  box.append(canvas, svg);
  figure.append(caption, box, legend);
  if (spec.cut) figure.append(element("div", { class: "cut" }, spec.cut));
  return figure;
}

const line = (x1, y1, x2, y2) => element("line", { x1, y1, x2, y2, stroke: "#cdd3db", "stroke-width": 0.7 });

/** What of an array is left out of the page. */
function cutNote(p) {
  if (p.key === "grad_columns" || String(p.shape) === String(p.full)) return "";
  return `shown: ${p.shape.join("×")} of ${p.full.join("×")}`;
}

/** A part as a grid: map c of (C, H, W), a kernel of (F, C, kh, kw), a matrix, or a vector folded into rows. */
function gridOf(p, more = {}) {
  const base = { key: p.key, title: p.name, note: p.full.length ? `(${p.full.join(", ")})` : "one number", cut: cutNote(p), ...more };
  const shape = p.shape;
  if (shape.length === 4) return { rows: shape[2], cols: shape[3], at: (r, c) => p.at(more.f, more.c, r, c), ...base };
  if (shape.length === 3) {
    const map = Math.min(more.c ?? state.map, shape[0] - 1);
    return { rows: shape[1], cols: shape[2], at: (r, c) => p.at(map, r, c), ...base };
  }
  if (shape.length === 2) return { rows: shape[0], cols: shape[1], at: (r, c) => p.at(r, c), stretch: true, ...base };
  const size = shape.length ? shape[0] : 1, cols = fold(size);
  return { rows: Math.ceil(size / cols), cols, ...base,
           at: (r, c) => (r * cols + c < size ? p.values[r * cols + c] : undefined) };
}

/** How long the rows are into which a vector is folded. */
const fold = (size) => (size <= 12 ? Math.min(size, 5) : Math.ceil(Math.sqrt(size)));

/** A lit entry of a folded vector. */
const litEntry = (size, k) => [{ r: Math.floor(k / fold(size)), c: k % fold(size), h: 1, w: 1 }];
