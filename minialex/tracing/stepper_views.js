// What is shown at a step: a function for each kind of layer. Each returns {count, filters, maps, where, grids, lines}:
// how many positions, filters and maps there are to choose from, the name of the position, the grids from left to
// right with their shares of the width, and the lines of hand arithmetic.

/** Where the window stands: the output's row and column, and the window in x with its padding. */
function windowAt(step, y) {
  const cols = y.shape[2], p = Math.floor(state.position / cols), q = state.position % cols;
  const [kh, kw] = step.kernel, [sh, sw] = step.stride;
  return { p, q, cols, cell: { r: p, c: q, h: 1, w: 1 }, window: { r: p * sh, c: q * sw, h: kh, w: kw } };
}

const pickIn = (cols) => (r, c) => move(r * cols + c);

function conv(step) {
  return step.direction === "forward" ? convForward(step) : convBackward(step);
}

/** The channels that filter f reads: the first of its group, and how many; and those of them that the page has. */
function channelsOf(step, filter, padded, weight) {
  const depth = weight.full[1], perGroup = Math.max(1, weight.full[0] / step.groups);
  const first = Math.floor(filter / perGroup) * depth;
  const shown = Math.max(0, Math.min(depth, padded.shape[0] - first, weight.shape[1]));
  return { first, depth, shown };
}

/** Rows of columns that are shown: all if they are few, else those of one channel at one line of positions. */
function columnGrid(step, key, title, full, at, channels, map, place, rowsLit, outRows) {
  const [kh, kw] = step.kernel, size = kh * kw, total = outRows * place.cols;
  const whole = channels * size * total <= 400;
  const firstRow = whole ? 0 : map * size, firstCol = whole ? 0 : place.p * place.cols;
  const rows = whole ? channels * size : size, cols = whole ? total : place.cols;
  const cut = whole ? "" : `rows of map ${map}, columns of output row ${place.p}`;
  const lit = { r: rowsLit.from * size - firstRow, c: place.p * place.cols + place.q - firstCol,
                h: rowsLit.count * size, w: 1 };
  return { key, title, note: `(${full.join(", ")})`, rows, cols, stretch: true, cut, lit: [lit], weight: 1.4,
           at: (r, c) => at(firstRow + r, firstCol + c), pick: (r, c) => move(firstCol + c) };
}

function convForward(step) {
  const [padded, weight, bias, y] = ["padded", "weight", "bias", "y"].map((name) => part(step, name));
  const filters = Math.min(y.shape[0], weight.shape[0]), f = Math.min(state.filter, filters - 1);
  const reads = channelsOf(step, f, padded, weight), maps = Math.max(reads.shown, 1);
  const k = Math.min(state.map, maps - 1), c = Math.min(reads.first + k, padded.shape[0] - 1); // k in the group
  const place = windowAt(step, y), { p, q, window: win } = place, [kh, kw] = step.kernel;
  const column = (row, col) => {
    const [i, j] = [Math.floor((row % (kh * kw)) / kw), row % kw];
    const [top, left] = [Math.floor(col / place.cols) * step.stride[0], (col % place.cols) * step.stride[1]];
    return padded.at(Math.floor(row / (kh * kw)), top + i, left + j);
  };
  const products = [], perMap = [];
  for (let m = 0; m < reads.shown; m++) {
    const list = [];
    for (let i = 0; i < kh; i++) for (let j = 0; j < kw; j++) {
      const [x, w] = [padded.at(reads.first + m, win.r + i, win.c + j), weight.at(f, m, i, j)];
      list.push(x * w);
      if (m === k) products.push(product(x, w));
    }
    perMap.push(sum(list));
  }
  const result = y.at(f, p, q), b = bias ? bias.values[f] : 0;
  const lines = [`map ${c}: ${terms(products)} = ${show(perMap[k] ?? 0)}`];
  const rest = result - b - sum(perMap), parts = perMap.map((v, m) => (m ? factor(v) : show(v)));
  if (reads.shown < reads.depth) parts.push(`${factor(rest)} (maps not shown)`);
  const ends = bias ? ` + bias ${factor(b)}` : "";
  const all = parts.length > 1 ? `${terms(parts, 45)} (all maps)` : parts[0];
  lines.push(`y[${f}, ${p}, ${q}] = ${all}${ends} = ${show(result)}`);
  const total = [weight.full[1] * step.groups * kh * kw, y.full[1] * y.full[2]];
  const lit = { from: reads.first, count: reads.shown };
  return {
    count: y.shape[1] * y.shape[2], filters, maps, where: `position (${p}, ${q})`, lines,
    grids: [
      gridOf(padded, { c, title: "x, padded", note: `map ${c} of ${padded.full[0]}`, lit: [win], weight: 1 }),
      gridOf(weight, { f, c: k, title: "weight", note: `filter ${f}, map ${c}`, weight: 0.85, cut: "" }),
      columnGrid(step, "columns", "columns", total, column, padded.shape[0], c, place, lit, y.shape[1]),
      gridOf(y, { c: f, title: "y", note: `map ${f} of ${y.full[0]}`, lit: [place.cell], weight: 0.8,
                  pick: pickIn(place.cols) }),
    ],
  };
}

function convBackward(step) {
  const names = ["grad_y", "grad_columns", "grad_weight", "grad_x", "padded", "weight"];
  const [gradY, gradColumns, gradWeight, gradX, padded, weight] = names.map((name) => part(step, name));
  const filters = Math.min(gradY.shape[0], weight.shape[0]), f = Math.min(state.filter, filters - 1);
  const reads = channelsOf(step, f, padded, weight), [kh, kw] = step.kernel;
  const channels = gradColumns.shape[0] / (kh * kw);
  const maps = Math.max(1, Math.min(reads.shown, channels - reads.first));
  const k = Math.min(state.map, maps - 1), c = Math.min(reads.first + k, channels - 1);
  const place = windowAt(step, gradY), { p, q, window: win } = place, position = p * place.cols + q;
  const perGroup = weight.full[0] / step.groups, firstF = Math.floor(f / perGroup) * perGroup;
  const lastF = Math.min(firstF + perGroup, filters);
  const list = [], values = [];
  for (let g = firstF; g < lastF; g++) {
    values.push(weight.at(g, k, 0, 0) * gradY.at(g, p, q));
    list.push(product(weight.at(g, k, 0, 0), gradY.at(g, p, q)));
  }
  const got = gradColumns.at(c * kh * kw, position);
  if (lastF < firstF + perGroup) list.push(`${factor(got - sum(values))} (filters not shown)`);
  const [row, col] = [win.r - step.padding[0], win.c - step.padding[1]];
  const inside = row >= 0 && col >= 0 && row < gradX.full[1] && col < gradX.full[2];
  const goes = inside ? `is added to grad_x[${c}, ${row}, ${col}]` : "falls on the padding, and is dropped";
  const x = padded.at(c, win.r, win.c), g = gradY.at(f, p, q);
  const total = [weight.full[1] * step.groups * kh * kw, gradY.full[1] * gradY.full[2]];
  return {
    count: gradY.shape[1] * gradY.shape[2], filters, maps, where: `position (${p}, ${q})`,
    lines: [
      `top of the column: weight·grad_y = ${terms(list, 32)} = ${show(got)}\nit ${goes}`,
      `grad_weight[${f}, ${k}, 0, 0] gets grad_y·x = ${product(g, x)} = ${show(g * x)} from here, grad_bias[${f}] gets ${show(g)}`,
    ],
    grids: [
      gridOf(gradY, { c: f, title: "grad_y", note: `map ${f} of ${gradY.full[0]}`, lit: [place.cell], weight: 0.8,
                      pick: pickIn(place.cols) }),
      columnGrid(step, "grad_columns", "grad_columns", total, (r, at) => gradColumns.at(r, at), channels, c, place,
                 { from: reads.first, count: maps }, gradY.shape[1]),
      gridOf(gradX, { c, title: "grad_x", note: `map ${c} of ${gradX.full[0]}`, lit: [{ ...win, r: row, c: col }],
                      weight: 1 }),
      gridOf(gradWeight, { f, c: k, title: "grad_weight", note: `filter ${f}, map ${c}`, weight: 0.7, cut: "" }),
    ],
  };
}

function pool(step) {
  const forward = step.direction === "forward";
  const y = part(step, forward ? "y" : "grad_y"), x = part(step, forward ? (step.parts.padded ? "padded" : "x") : "grad_x");
  const winner = part(step, "winner"), maps = Math.min(x.shape[0], y.shape[0]), c = Math.min(state.map, maps - 1);
  const place = windowAt(step, y), { p, q } = place, [kh, kw] = step.kernel;
  const pad = forward ? [0, 0] : step.padding; // grad_x has no padding
  const win = { ...place.window, r: place.window.r - pad[0], c: place.window.c - pad[1] };
  const lit = [win];
  const won = winner ? winner.at(c, p, q) : null;
  if (winner) lit.push({ r: win.r + Math.floor(won / kw), c: win.c + (won % kw), h: 1, w: 1 });
  const cells = [];
  for (let i = 0; i < kh; i++) for (let j = 0; j < kw; j++) cells.push(forward ? x.at(c, win.r + i, win.c + j) : 0);
  const result = y.at(c, p, q), scale = part(step, "weight")?.values[c], bias = part(step, "bias")?.values[c];
  const lines = [];
  if (forward && winner) lines.push(`max(${cells.map((v) => show(v)).join(", ")}) = ${show(result)}`, `cell ${won} wins`);
  else if (forward && scale !== undefined)
    lines.push(`${factor(scale)}·(${terms(cells.map(factor))}) + bias ${factor(bias)} = ${show(result)}`);
  else if (forward) lines.push(`(${terms(cells.map(factor))}) / ${kh * kw} = ${show(result)}`);
  else if (winner) lines.push(`grad_y = ${show(result)} goes whole to cell ${won}, which won; the others get 0`);
  else {
    const share = scale !== undefined ? scale : 1 / (kh * kw);
    lines.push(`${kh * kw === 1 ? "its pixel" : `each of the ${kh}×${kw} pixels`} gets ${product(share, result)} = ${show(share * result)}`);
  }
  if (!forward) lines.push("a pixel that lies under several windows gets the sum");
  const shownX = gridOf(x, { c, title: forward ? "x, padded" : "grad_x", note: `map ${c} of ${x.full[0]}`, lit, weight: 1 });
  const shownY = gridOf(y, { c, title: forward ? "y" : "grad_y", note: `map ${c} of ${y.full[0]}`, lit: [place.cell],
                             weight: 0.8, pick: pickIn(place.cols) });
  const grids = forward ? [shownX, shownY] : [shownY, shownX];
  if (winner) grids.splice(1, 0, gridOf(winner, { c, title: "winner", note: `cell 0 to ${kh * kw - 1}`,
                                                  lit: [place.cell], weight: 0.8, pick: pickIn(place.cols) }));
  return { count: y.shape[1] * y.shape[2], filters: 0, maps, where: `position (${p}, ${q})`, grids, lines };
}

function linear(step) {
  const forward = step.direction === "forward";
  const weight = part(step, "weight"), x = part(step, "x"), y = part(step, forward ? "y" : "grad_y");
  const count = Math.min(y.shape[0], weight.shape[0]), o = Math.min(state.position, count - 1), size = weight.shape[1];
  const rowOf = (p, title) => {
    const cols = fold(size);
    return { key: p.key, title, note: `row ${o} of ${p.full[0]}`, rows: Math.ceil(size / cols), cols, weight: 1,
             at: (r, c) => (r * cols + c < size ? p.at(o, r * cols + c) : undefined),
             cut: cutNote(p) };
  };
  const shownY = gridOf(y, { title: forward ? "y" : "grad_y", lit: litEntry(y.shape[0], o), weight: 0.8,
                             pick: (r, c) => move(r * fold(y.shape[0]) + c) });
  const g = y.values[o], lines = [], grids = [];
  if (forward) {
    const bias = part(step, "bias"), all = [], list = [];
    for (let k = 0; k < size; k++) { all.push(x.values[k] * weight.at(o, k)); list.push(product(x.values[k], weight.at(o, k))); }
    const rest = g - bias.values[o] - sum(all);
    if (size < weight.full[1]) list.unshift(`${factor(rest)} (inputs not shown)`);
    lines.push(`y[${o}] = x·weight[${o}] + bias = ${terms(list, 150)} + bias ${factor(bias.values[o])} = ${show(g)}`);
    grids.push(gridOf(x, { title: "x", weight: 1 }), rowOf(weight, "weight"), shownY);
  } else {
    const gradX = part(step, "grad_x"), gradWeight = part(step, "grad_weight");
    lines.push(`grad_weight[${o}] = grad_y[${o}]·x:  its first is ${product(g, x.values[0])} = ${show(g * x.values[0])}` +
               (data.pictures > 1 ? ", summed over the pictures" : "") + `;  grad_bias[${o}] gets ${show(g)}`);
    lines.push(`grad_x gets grad_y[${o}]·weight[${o}]:  its first ${product(g, weight.at(o, 0))} = ${show(g * weight.at(o, 0))}`);
    grids.push(shownY, rowOf(weight, "weight"), rowOf(gradWeight, "grad_weight"), gridOf(gradX, { title: "grad_x", weight: 1 }));
  }
  return { count, filters: 0, maps: 0, where: `output ${o}`, grids, lines };
}

/** The last part of the shape that most of the maps have, or else of the pictures' other numbers. */
function leading(parts) {
  const count = (p) => parts.filter((o) => String(o.shape) === String(p.shape)).length;
  for (const those of [parts.filter((p) => p.shape.length === 3), parts.filter((p) => !p.shared && p.shape.length)]) {
    const most = Math.max(1, ...those.map(count));
    if (most > 1) return those.findLast((p) => count(p) === most);
  }
  return parts[0];
}

/** What a join does to one number: where it comes from, or goes to, and what is added. */
function joinLine(step, { how, whole, parts: names }, c, r, q) {
  const total = part(step, whole), list = names.map((name) => part(step, name));
  if (c >= total.shape[0] || r >= total.shape[1] || q >= total.shape[2]) return "";
  const at = `${whole}[${c}, ${r}, ${q}]`, value = show(total.at(c, r, q));
  if (how === "share") return `${at} = ${value} goes to each path, whole`;
  const sumOf = names.length <= 3 ? ` = ${names.join(" + ")}` : "";
  if (how === "add") return `${at}${sumOf} = ${terms(list.map((p) => (p === list[0] ? show : factor)(p.at(c, r, q))))} = ${value}`;
  const maps = `${list.map((p) => p.full[0]).join(" + ")} = ${counted(total.full[0], "map")}, one behind the other`;
  const [p, k] = placeIn(list, c);
  return p ? `${at} is ${p.key}[${k}, ${r}, ${q}] = ${value}   (${maps})` : maps;
}

/** Of arrays one behind the other: in which of them map c lies, and which map of it that is. */
function placeIn(list, c) {
  let k = c;
  for (const p of list) {
    if (k < p.full[0]) return [p, k];
    k -= p.full[0];
  }
  return [null, 0];
}

/** All parts side by side; the same entry is lit in all that have the same shape, and in numbers of a channel its own. */
function plain(step) {
  const parts = Object.keys(step.parts).map((name) => part(step, name)), concat = step.joins.find((j) => j.how === "concat");
  const lead = parts.find((p) => p.key === concat?.whole) ?? leading(parts);
  const image = lead.shape.length === 3, maps = image ? lead.shape[0] : 0;
  const c = Math.min(state.map, Math.max(maps - 1, 0));
  const count = image ? lead.shape[1] * lead.shape[2] : (lead.shape[0] ?? 1), k = state.position % count;
  const [r, q] = image ? [Math.floor(k / lead.shape[2]), k % lead.shape[2]] : [0, 0];
  const [source, inside] = concat ? placeIn(concat.parts.map((name) => part(step, name)), c) : [null, 0];
  const told = new Set(step.joins.flatMap((join) => [join.whole, ...join.parts])); // they have lines of their own
  const found = [], size = (p) => `(${p.full.join(", ")})`;
  const grids = parts.map((p) => {
    const same = String(p.shape) === String(lead.shape), more = { title: p.key, weight: 1 };
    const uncut = (a) => String(a.shape) === String(a.full);
    let entry = null;
    if (same && !image && p.shape.length <= 1) entry = k;
    if (image && p.shared && p.shape.length === 1 && p.full[0] === lead.full[0]) entry = c; // a mean, of this channel
    else if (image && p.shape.length === 1 && p.full[0] === lead.full.reduce((a, b) => a * b) && uncut(lead))
      entry = c * lead.shape[1] * lead.shape[2] + k; // Flatten: where the pixel went
    if (entry !== null && entry < (p.shape[0] ?? 1)) {
      found.push(`${p.key}\u00a0=\u00a0${show(p.values[entry], 4)}`);
      return gridOf(p, { ...more, lit: p.shape.length ? litEntry(p.shape[0], entry) : [],
                         pick: same ? (row, col) => move(row * fold(p.shape[0]) + col) : undefined });
    }
    if (p.key === source?.key && inside < p.shape[0])
      return gridOf(p, { ...more, c: inside, note: `${size(p)}, map ${inside}`, lit: [{ r, c: q, h: 1, w: 1 }],
                         pick: pickIn(p.shape[2]) });
    if (same && image) {
      if (!told.has(p.key)) found.push(`${p.key}\u00a0=\u00a0${show(p.at(c, r, q), 4)}`);
      return gridOf(p, { ...more, c, note: `${size(p)}, map ${c}`, lit: [{ r, c: q, h: 1, w: 1 }],
                         pick: pickIn(p.shape[2]) });
    }
    if (!p.shape.length) found.push(`${p.key}\u00a0=\u00a0${show(p.values[0], 5)}`);
    if (p.shape.length === 3) {
      const map = concat && p.key !== concat.whole && concat.parts.includes(p.key) ? 0 : Math.min(c, p.shape[0] - 1);
      return gridOf(p, { ...more, c: map, note: `${size(p)}, map ${map}` });
    }
    return gridOf(p, p.shape.length === 4 ? { ...more, f: 0, c: 0 } : more);
  });
  const lines = [found.join("    "), ...step.joins.map((join) => joinLine(step, join, c, r, q))].filter(Boolean);
  if (step.more) lines.push(`more arrays of this layer are in the trace: ${step.more}`);
  return { count, filters: 0, maps, where: image ? `pixel (${r}, ${q})` : `entry ${k}`, grids, lines };
}
