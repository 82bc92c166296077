// The products of a shelf: boxes over the photo, a count of each, and a list of all. Box and entry of
// a product are chosen together; the arrow keys move through the list.

import { percent, word } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const THUMBNAIL_PIXELS = 96; // drawn at half of that
const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
const ENDS = { Home: 0, End: -1 };
const VERDICTS = ["sure", "unsure", "unknown"];

const element = (id) => document.getElementById(id);

export class ShelfView {
  #entries = []; // {option, frame} of each product, in the order of the list
  #chosen = 0;
  #shownUrl = "";

  constructor() {
    element("products").addEventListener("keydown", (event) => this.#move(event));
    element("boxes").addEventListener("click", ({ target }) => {
      const entry = this.#entries.find(({ frame }) => frame === target.parentNode);
      if (entry) this.#choose(entry.option);
    });
  }

  hide() {
    element("shelf").hidden = true;
  }

  // photo: the file; answer: {width, height, score, products}
  async show(photo, { width, height, score, products }) {
    const shelf = element("shelf");
    const isEmpty = !products.length;
    const meaning = isEmpty ? "none_meaning" : "found_meaning";
    element("found").textContent = word("found", { count: products.length });
    element("found-meaning").textContent = word(meaning, { score: percent(score) });
    for (const id of ["counts", "each", "products"]) element(id).hidden = isEmpty;
    const inOrder = inRows(products);
    this.#entries = inOrder.map((product) => this.#entry(product));
    if (!isEmpty) this.#entries[0].option.tabIndex = 0;
    element("products").replaceChildren(...this.#entries.map(({ option }) => option));
    const frames = inOrder.map(({ box }, number) => [areaOf(box), this.#entries[number].frame]);
    frames.sort(([a], [b]) => b - a); // small ones can be clicked in front of large ones
    element("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
    element("boxes").replaceChildren(...frames.map(([, frame]) => frame));
    listCounts(products);
    this.#chosen = 0;
    shelf.style.setProperty("--ratio", width / height);
    shelf.hidden = false;
    element("found").focus({ preventScroll: true }); // a screen reader reads on from the answer
    shelf.scrollIntoView({ block: "nearest" });
    await this.#showPhoto(photo, inOrder);
  }

  async #showPhoto(photo, products) {
    URL.revokeObjectURL(this.#shownUrl);
    this.#shownUrl = URL.createObjectURL(photo);
    const image = element("scene-photo");
    image.alt = word("shelf_photo");
    image.src = this.#shownUrl;
    const entries = this.#entries;
    try {
      await image.decode();
    } catch {
      return; // the browser cannot read it, or another one is shown already
    }
    if (entries !== this.#entries) return;
    products.forEach(({ box }, number) => {
      drawPart(entries[number].option.querySelector("canvas"), image, box);
    });
  }

  #entry(product) {
    const option = document.createElement("li");
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.dataset.verdict = product.verdict;
    option.tabIndex = -1;
    const [name, share] = ["name", "share"].map((kind) => {
      const part = document.createElement("span");
      part.className = kind;
      return part;
    });
    name.textContent = nameOf(product);
    share.textContent = percent(product.guesses[0].probability);
    option.append(document.createElement("canvas"), name, share);
    const frame = document.createElementNS(SVG, "g");
    frame.dataset.verdict = product.verdict;
    frame.append(rectangle(product.box, "edge"), rectangle(product.box, "line"));
    option.addEventListener("focus", () => this.#mark(option));
    option.addEventListener("click", () => this.#choose(option));
    option.addEventListener("pointerenter", () => frame.classList.add("near"));
    option.addEventListener("pointerleave", () => frame.classList.remove("near"));
    return { option, frame };
  }

  #move(event) {
    const last = this.#entries.length - 1;
    let next = this.#chosen + (STEPS[event.key] ?? NaN);
    if (event.key in ENDS) next = ENDS[event.key] < 0 ? last : 0;
    if (Number.isNaN(next) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault(); // the page does not scroll
    this.#choose(this.#entries[Math.min(Math.max(next, 0), last)].option);
  }

  #choose(option) {
    this.#mark(option);
    option.focus();
  }

  // The entry that has the focus is the chosen one, and the only one that Tab reaches.
  #mark(chosen) {
    this.#entries.forEach(({ option, frame }, number) => {
      const isChosen = option === chosen;
      if (isChosen) this.#chosen = number;
      option.setAttribute("aria-selected", String(isChosen));
      option.tabIndex = isChosen ? 0 : -1;
      frame.classList.toggle("chosen", isChosen);
    });
  }
}

function nameOf({ verdict, guesses }) {
  return word(verdict, { name: guesses[0].class });
}

// Products as one reads a shelf: rows from the top, each from the left. One whose middle is above
// the lower edge of a row's first product is in that row.
function inRows(products) {
  const rows = [];
  for (const product of [...products].sort((a, b) => a.box[1] + a.box[3] - b.box[1] - b.box[3])) {
    const row = rows.at(-1);
    if (row && (product.box[1] + product.box[3]) / 2 < row[0].box[3]) row.push(product);
    else rows.push([product]);
  }
  return rows.flatMap((row) => row.sort((a, b) => a.box[0] - b.box[0]));
}

// A row for each name and verdict, so that all together are the total.
function listCounts(products) {
  const counts = new Map();
  for (const product of products) {
    const name = nameOf(product);
    const row = counts.get(name) ?? { name, verdict: product.verdict, count: 0 };
    counts.set(name, { ...row, count: row.count + 1 });
  }
  const rank = ({ verdict }) => VERDICTS.indexOf(verdict);
  const rows = [...counts.values()].sort((a, b) => rank(a) - rank(b) || b.count - a.count);
  element("counts").tBodies[0].replaceChildren(
    ...rows.map(({ name, verdict, count }) => {
      const row = document.createElement("tr");
      const header = document.createElement("th");
      header.scope = "row";
      header.dataset.verdict = verdict;
      header.textContent = name;
      row.append(header);
      row.insertCell().textContent = count;
      return row;
    }),
  );
  element("counts").tFoot.rows[0].cells[1].textContent = products.length;
}

function rectangle([left, top, right, bottom], kind) {
  const shape = document.createElementNS(SVG, "rect");
  const values = { x: left, y: top, width: right - left, height: bottom - top, class: kind };
  for (const [name, value] of Object.entries(values)) shape.setAttribute(name, value);
  return shape;
}

function areaOf([left, top, right, bottom]) {
  return (right - left) * (bottom - top);
}

function drawPart(canvas, image, [left, top, right, bottom]) {
  const [width, height] = [right - left, bottom - top];
  const scale = THUMBNAIL_PIXELS / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.drawImage(image, left, top, width, height, 0, 0, canvas.width, canvas.height);
}
