// The page: takes a photo, shows the answer. All that is shown is set as text, never as HTML.

import { Connection, ServiceError } from "./connection.js";
import { DeviceBackend } from "./device_backend.js";
import { canRunModels } from "./device_runtime.js";
import { ServerBackend } from "./server_backend.js";
import { ShelfView } from "./shelf_view.js";
import { hasWord, language, percent, word } from "./words.js";

const FIRST_CLASSES = 5;
const element = (id) => document.getElementById(id);

// kept while the tab is open
const ON_DEVICE = "on-device";
const MODE = "mode";
const isServed = document.documentElement.dataset.from === "service"; // else it is a folder

const connection = new Connection();
const serverBackend = new ServerBackend(connection);
const deviceBackend = new DeviceBackend(connection);
let backend = isServed ? serverBackend : deviceBackend;
let model = null;
let starting = null; // a promise: the model is there, or a problem is shown
let photo = null; // the file that was taken last
let mode = "product"; // what photos show: one product, or a shelf
let guesses = [];
let turn = 0; // answers to an earlier photo are thrown away
let shownUrl = "";
const shelf = new ShelfView();

function translate() {
  document.documentElement.lang = language;
  for (const part of document.querySelectorAll("[data-word]"))
    part.textContent = word(part.dataset.word);
  showTitle();
}

function showTitle() {
  const title = word(mode === "shelf" ? "title_shelf" : "title");
  document.title = title;
  document.querySelector("h1").textContent = title;
}

// Asks the backend for its model. While it has none, no photo is taken.
async function start() {
  const mine = backend;
  model = null;
  if (mine === deviceBackend && !canRunModels()) {
    showProblem(word("device_missing"));
    return;
  }
  element("privacy").textContent =
    mine === deviceBackend ? word("privacy_device") : word("privacy_server", { host: location.host });
  if (mine === deviceBackend) element("status").textContent = word("loading");
  let found;
  try {
    found = await mine.model();
  } catch (error) {
    if (mine === backend) fail(error);
    return;
  }
  if (mine !== backend) return; // the switch was moved meanwhile
  model = found;
  element("status").textContent = "";
  element("problem").hidden = true;
  element("key-form").hidden = true;
  element("model").textContent = word("model", { name: model.name, count: model.classes.length });
  element("mode").hidden = !model.has_locator;
  setMode(model.has_locator ? recalled(MODE) : "product");
  if (model.on_device) offerSwitch();
}

function offerSwitch() {
  element("where").hidden = false;
  if (canRunModels()) return;
  element("device").disabled = true;
  element("privacy").append(` ${word("device_missing")}`);
}

// Browsers may forbid to keep anything; then a new page begins as the first one did.
function remember(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {}
}

function recalled(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

function setMode(value) {
  mode = value === "shelf" ? "shelf" : "product";
  document.querySelector(`#mode input[value=${mode}]`).checked = true;
  showTitle();
}

// The photo that is there is looked at anew.
function chooseMode(value) {
  setMode(value);
  remember(MODE, mode);
  turn++;
  hideAnswers();
  if (photo) take(photo);
}

function hideAnswers() {
  for (const part of ["result", "similar", "problem", "progress"]) element(part).hidden = true;
  shelf.hide();
  element("status").textContent = "";
}

// From now on photos are classified here or there; what was shown came from the other place.
function choosePlace(isHere) {
  backend = isHere ? deviceBackend : serverBackend;
  remember(ON_DEVICE, isHere ? "yes" : "no");
  turn++;
  hideAnswers();
  photo = null;
  starting = start();
}

function fail(error) {
  element("status").textContent = "";
  element("progress").hidden = true;
  if (!(error instanceof ServiceError)) console.error(error);
  const status = error.status ?? -1;
  if (status === 401 && !connection.key) {
    element("key-form").hidden = false;
    element("key").focus();
    return;
  }
  if (status === 401) element("key-form").hidden = false;
  showProblem(
    status === 0
      ? word("offline")
      : hasWord(`problem_${status}`)
        ? word(`problem_${status}`)
        : word("problem", { detail: error.message }),
  );
}

function showProblem(text) {
  element("problem").textContent = text;
  element("problem").hidden = false;
}

async function take(file) {
  if (!file) return;
  const mine = ++turn;
  await starting;
  if (!model || mine !== turn) return;
  photo = file;
  hideAnswers();
  element("status").textContent = word("looking");
  try {
    await (mode === "shelf" ? takeShelf(file, mine) : takeProduct(file, mine));
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

async function takeProduct(file, mine) {
  const result = await backend.classify(file, model.classes.length);
  if (mine !== turn) return;
  guesses = result.guesses;
  show(file, word("photo"));
  element("explain").hidden = false;
  element("explain").setAttribute("aria-pressed", "false");
  showAnswer(result);
  if (model.has_index) await showSimilar(file, mine);
}

async function takeShelf(file, mine) {
  const progress = element("progress");
  const answer = await backend.locate(file, (done, all) => {
    if (mine !== turn) return false;
    progress.hidden = false;
    if (done) progress.value = done / all;
    else progress.removeAttribute("value");
    return true;
  });
  if (mine !== turn) return;
  progress.hidden = true;
  element("status").textContent = "";
  await shelf.show(file, answer);
}

async function showSimilar(file, mine) {
  const matches = await backend.similar(file);
  const pictures = await Promise.all(matches.map(({ picture }) => backend.picture(picture)));
  if (mine !== turn) return;
  const items = matches.map((match, number) => {
    const image = new Image();
    image.src = URL.createObjectURL(pictures[number]);
    image.onload = () => URL.revokeObjectURL(image.src);
    image.alt = match.photo;
    const item = document.createElement("li");
    item.append(image, `${match.photo.split("/").slice(-2).join("/")} `, percent(match.similarity));
    return item;
  });
  element("matches").replaceChildren(...items);
  element("similar").hidden = !items.length;
}

function show(picture, alternative) {
  URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(picture);
  element("photo").src = shownUrl;
  element("photo").alt = alternative;
}

function showAnswer({ verdict }) {
  const best = guesses[0];
  const heading = element("verdict");
  heading.dataset.verdict = verdict;
  heading.textContent = word(verdict, { name: best.class });
  element("meaning").textContent = word(`${verdict}_meaning`);
  element("all").setAttribute("aria-expanded", "false");
  element("all").hidden = guesses.length <= FIRST_CLASSES;
  listClasses(FIRST_CLASSES);
  element("result").hidden = false;
  element("status").textContent = "";
  heading.focus({ preventScroll: true }); // a screen reader reads on from the answer
  element("result").scrollIntoView({ block: "nearest" });
}

function listClasses(count) {
  const rows = guesses.slice(0, count).map((guess) => {
    const row = document.createElement("li");
    const [bar, name, share] = ["bar", "name", "share"].map((kind) => {
      const part = document.createElement("span");
      part.className = kind;
      return part;
    });
    bar.style.width = `${100 * guess.probability}%`;
    name.textContent = guess.class;
    share.textContent = percent(guess.probability);
    row.append(bar, name, share);
    return row;
  });
  element("classes").replaceChildren(...rows);
}

async function toggleExplanation() {
  const button = element("explain");
  if (button.getAttribute("aria-pressed") === "true") {
    button.setAttribute("aria-pressed", "false");
    show(photo, word("photo"));
    return;
  }
  if (button.getAttribute("aria-disabled") === "true") return;
  const mine = turn;
  button.setAttribute("aria-disabled", "true"); // "disabled" would take the focus away
  element("status").textContent = word("explaining");
  try {
    const picture = await backend.explain(photo);
    if (mine !== turn) return;
    show(picture, word("heat"));
    button.setAttribute("aria-pressed", "true");
    element("status").textContent = "";
  } catch (error) {
    if (mine === turn) fail(error);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

function photoIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0];
}

for (const id of ["file", "camera"])
  element(id).addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = ""; // so that the same photo can be chosen again
  });
element("explain").addEventListener("click", toggleExplanation);
element("all").addEventListener("click", () => {
  element("all").setAttribute("aria-expanded", "true");
  element("all").hidden = true;
  listClasses(guesses.length);
});
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connection.key = element("key").value.trim();
  starting = start();
});
element("device").addEventListener("change", (event) => choosePlace(event.target.checked));
element("mode").addEventListener("change", (event) => chooseMode(event.target.value));
document.addEventListener("paste", (event) => {
  const file = photoIn(event.clipboardData);
  if (file) take(file);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
});
document.addEventListener("dragleave", () => element("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  const file = photoIn(event.dataTransfer);
  if (file) take(file);
});

translate();
if (isServed && recalled(ON_DEVICE) === "yes" && canRunModels()) {
  element("device").checked = true;
  element("where").hidden = false;
  backend = deviceBackend;
}
starting = start();
