// Asks for what is new, puts it in its place, and says when nobody answers. Markup comes escaped from the server.
"use strict";

const EVERY = 2000, PATIENCE = 10000; // ms between two questions, and for an answer
const body = document.body, link = document.getElementById("link");
const shown = new Map(); // markup by the id of its place
let version = body.dataset.version, lostSince = null;

function clock(seconds, isShort = false) {
  const at = new Date(seconds * 1000), today = at.toDateString() === new Date().toDateString();
  const time = at.toTimeString().slice(0, today && !isShort ? 8 : 5);
  return today ? time : `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}

function distance(seconds) {
  const minutes = Math.round(Math.abs(seconds) / 60), hours = Math.floor(minutes / 60);
  const words = minutes < 1 ? "less than a minute" : hours < 1 ? `${minutes} min` : `${hours} h ${minutes % 60} min`;
  return seconds > 0 ? `in ${words}` : `${words} ago`;
}

function tick() {
  for (const each of document.querySelectorAll("time[data-at]"))
    each.textContent = clock(Number(each.dataset.at), each.classList.contains("short"));
  for (const each of document.querySelectorAll("time[data-from-now]")) {
    const seconds = Number(each.dataset.fromNow) - Date.now() / 1000;
    each.textContent = each.classList.contains("ahead") && seconds < 0 ? "later than expected" : distance(seconds);
  }
}

function show(news) {
  version = news.version;
  document.title = news.title;
  body.classList.toggle("over", news.over);
  const opened = [...document.querySelectorAll("details[open]")].map((each) => each.id);
  for (const [name, markup] of Object.entries(news.parts)) {
    const place = document.getElementById(name);
    if (shown.get(name) !== markup) {
      place.innerHTML = markup;
      shown.set(name, markup);
    }
  }
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
}

function connected(is) {
  lostSince = is ? null : lostSince ?? Date.now() / 1000;
  body.classList.toggle("lost", !is);
  link.hidden = is;
  if (is) return;
  const since = `since ${clock(lostSince)}`;
  link.textContent = body.classList.contains("over")
    ? `The run is over and its server has ended, ${since}. This page shows its last state.`
    : `No connection ${since}. This page updates itself again once the server is back.`;
}

async function look() {
  try {
    const asked = { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" };
    const answer = await fetch(`news?seen=${encodeURIComponent(version)}`, asked);
    if (answer.status === 200) show(await answer.json());
    connected(answer.ok);
  } catch {
    connected(false);
  }
  tick();
  setTimeout(look, EVERY);
}

tick();
setTimeout(look, EVERY);
