// Operators' page: how each watch is doing, and buttons for what may be done about it.
const element = (id) => document.getElementById(id);
const REFRESH_MS = 60_000;
const ACTIONS = {
  "retry": { words: "Retry", does: "queue failed observations again" },
  "pause": { words: "Pause", does: "stop searches and predictions" },
  "resume": { words: "Resume", does: "go on with searches and predictions" },
  "test-alert": { words: "Test alert", does: "send a test message to every channel" },
};
const state = { found: null, busy: false, drawn: "" };

/** Headers with the token of this tab, if the map or the page for assessments stored one. */
function headers(more = {}) {
  const token = sessionStorage.getItem("segwatch.token");
  return token ? { ...more, "Authorization": `Bearer ${token}` } : more;
}

async function describeRefusal(response) {
  const body = await response.json().catch(() => ({}));
  return typeof body.detail === "string" ? body.detail : `The server responded with status ${response.status}.`;
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server cannot be reached; this page tries again every minute.");
  }
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Error(await describeRefusal(response));
  return response.json();
}

const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** A duration in its two largest units. */
function duration(seconds) {
  const minutes = Math.round(Math.abs(seconds) / 60);
  const parts = [[Math.floor(minutes / 1440), "d"], [Math.floor(minutes / 60) % 24, "h"], [minutes % 60, "min"]];
  return parts.filter(([count]) => count).slice(0, 2).map(([count, unit]) => `${count} ${unit}`).join(" ") || "under a minute";
}

/** A moment as a time element, with how long ago it was, or how long it is until then. */
function moment(text) {
  if (text === null) return "never";
  const time = document.createElement("time");
  const away = (Date.parse(text) - Date.parse(state.found.now)) / 1000;
  time.dateTime = text;
  time.textContent = `${new Date(text).toISOString().slice(0, 16).replace("T", " ")} UTC (${away > 0 ? "in " : ""}${duration(away)}${away > 0 ? "" : " ago"})`;
  return time;
}

/** What somebody should look at. */
function listTrouble(watch) {
  const found = [];
  if (watch.catalog.failures) {
    const since = watch.catalog.answered_at ? ` since ${watch.catalog.answered_at.slice(0, 16).replace("T", " ")} UTC` : "";
    found.push(`the catalog did not answer ${plural(watch.catalog.failures, "search", "searches")} in a row${since}: ${watch.catalog.error}`);
  }
  if (watch.catalog.silent) {
    found.push(`the catalog has published no scene of ${plural(watch.catalog.missed_revisits, "revisit")} in a row`);
  }
  const { judged, saturated } = watch.rendering;
  if (saturated > judged / 10) found.push(`${saturated} of ${plural(judged, "scene")} this month were saturated, constant or out of range: check the bands and limits of the source`);
  if (watch.failed) found.push(`${plural(watch.failed, "observation")} failed in the last ${watch.failure_days} days`);
  if (watch.outbox.failed) found.push(`${plural(watch.outbox.failed, "message")} could not be delivered`);
  if (watch.state === "active" && watch.schedule === null && !watch.last_scene) found.push("it has no schedule and no scene yet");
  return found;
}

const number = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });

/** How long after acquisition the catalog publishes scenes. */
const describePublication = (seconds) => seconds
  ? `half of the scenes within ${duration(seconds.p50)} of acquisition, 95 % within ${duration(seconds.p95)}` : "unknown";

/** How long after acquisition alerts are raised: the classes that half and 95 % of them lie in. */
function describeAges(ages) {
  const all = ages.reduce((sum, one) => sum + one.alerts, 0);
  if (!all) return "none yet";
  const sorted = [...ages].sort((a, b) => (a.up_to_seconds ?? Infinity) - (b.up_to_seconds ?? Infinity));
  const within = (share) => {
    let count = 0;
    const limit = sorted.find((one) => (count += one.alerts) >= share * all)?.up_to_seconds ?? null;
    return limit === null ? "over 7 d" : `within ${duration(limit)}`;
  };
  return `${all.toLocaleString("en")}; half ${within(0.5)} of acquisition, 95 % ${within(0.95)}`;
}

/** Whether scenes come as the orbits let expect. */
function describeRevisits({ acquisitions, missed_revisits: missed, next_expected_at: next }) {
  if (missed === null) return "no regular orbit is known";
  const words = document.createElement("span");
  words.append(`${acquisitions.missing} of ${plural(acquisitions.seen + acquisitions.missing, "acquisition")} missing, ${missed} in a row; next expected `, next ? moment(next) : "unknown");
  return words;
}

function describe(watch) {
  const scene = watch.last_scene;
  const cost = watch.cost.gpu_seconds === null && watch.cost.km2 === null ? "nothing was observed"
    : `${Math.round(watch.cost.gpu_seconds ?? 0).toLocaleString("en")} s of computing (${duration(watch.cost.gpu_seconds ?? 0)}), ${number(watch.cost.km2 ?? 0)} km²`;
  return [
    ["Last scene", scene ? moment(scene.acquired_at) : "none yet"],
    ["Lag", scene?.lag_seconds == null ? "unknown" : `${duration(scene.lag_seconds)} from acquisition to result`],
    ["Catalog's lag", describePublication(watch.catalog.publication_seconds)],
    ["Alerts", describeAges(watch.alert_ages)],
    ["Next run", watch.next_run ? moment(watch.next_run) : watch.schedule ? "none" : "no schedule"],
    ["Queue", `${watch.queue.pending} pending, ${watch.queue.running} running`
      + (watch.queue.oldest_at ? `; the oldest waits for ${duration((Date.parse(state.found.now) - Date.parse(watch.queue.oldest_at)) / 1000)}` : "")],
    ["Messages", `${watch.outbox.due} due, ${watch.outbox.failed} given up`],
    ["Catalog", watch.catalog.searched_at ? moment(watch.catalog.searched_at) : "not searched yet"],
    ["Revisits", describeRevisits(watch.catalog)],
    ["Registration", watch.registration.shift_m === null ? "not measured" : `newest scene shifted by ${number(watch.registration.shift_m)} m`],
    ["Rendering", watch.rendering.judged ? `${watch.rendering.saturated} of ${plural(watch.rendering.judged, "scene")} this month saturated, constant or out of range` : "no scene this month"],
    [`Cost, ${watch.cost.days} days`, cost],
  ];
}

function draw(watch) {
  const card = element("watch").content.firstElementChild.cloneNode(true);
  const trouble = listTrouble(watch);
  const id = `watch-${CSS.escape(watch.watch)}`;
  card.dataset.trouble = String(trouble.length > 0);
  card.dataset.watch = watch.watch;
  card.setAttribute("aria-labelledby", id);
  Object.assign(card.querySelector("h2"), { id, textContent: watch.watch });
  const shown = card.querySelector(".state");
  shown.dataset.state = watch.state;
  shown.textContent = watch.state;
  card.querySelector(".trouble").append(...trouble.map((words) => Object.assign(document.createElement("li"), { textContent: words })));
  for (const [term, value] of describe(watch)) {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = term;
    dd.append(value);
    card.querySelector("dl").append(dt, dd);
  }
  const failures = card.querySelector(".failures");
  failures.hidden = !watch.failures.length;
  failures.querySelector("summary").textContent = `Failures by reason (${watch.failed})`;
  failures.querySelector("ul").append(...watch.failures.map((one) =>
    Object.assign(document.createElement("li"), { textContent: `${one.observations} × ${one.reason}` })));
  const actions = card.querySelector(".actions");
  actions.setAttribute("aria-label", `Actions for ${watch.watch}`);
  if (state.found.may_operate) actions.append(...listActions(watch).map((name) => makeButton(watch.watch, name)));
  return card;
}

/** Actions that make sense in the state of a watch. */
function listActions(watch) {
  if (watch.state === "archived" || watch.state === "ended") return ["test-alert"];
  return [...(watch.failed ? ["retry"] : []), watch.state === "paused" ? "resume" : "pause", "test-alert"];
}

function makeButton(watch, name) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.action = name;
  button.textContent = ACTIONS[name].words;
  button.title = ACTIONS[name].does;
  button.setAttribute("aria-label", `${ACTIONS[name].words} ${watch}: ${ACTIONS[name].does}`);
  button.addEventListener("click", () => act(watch, name, button));
  return button;
}

async function act(watch, name, button) {
  if (state.busy) return;
  state.busy = true;
  button.disabled = true;
  element("message").textContent = "";
  try {
    const path = `/api/operations/${encodeURIComponent(watch)}/${name}`;
    const done = await ask(path, { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: "{}" });
    await load(`${watch}: ${done.message}${done.note ? `; ${done.note}` : ""}`);
    // the button may be gone: stay at the watch
    const card = [...document.querySelectorAll("article")].find((one) => one.dataset.watch === watch);
    (card?.querySelector(`[data-action="${name}"]`) ?? card?.querySelector("button"))?.focus();
  } catch (error) {
    element("message").textContent = `${watch}: ${error.message}`;
  } finally {
    state.busy = false;
    button.disabled = false;
  }
}

function show(words) {
  const found = state.found;
  const only = element("shown").value === "trouble";
  const watches = found.watches.filter((one) => !only || listTrouble(one).length);
  // an unchanged page keeps the focus and what is opened
  const drawn = JSON.stringify([watches, found.may_operate, only]);
  if (drawn !== state.drawn) element("watches").replaceChildren(...watches.map(draw));
  state.drawn = drawn;
  const troubled = found.watches.filter((one) => listTrouble(one).length).length;
  const all = `${plural(found.watches.length, "watch", "watches")}, ${troubled} with trouble`;
  element("status").textContent = words ?? (found.watches.length ? all : "There is no watch yet; segwatch apply FILE stores one.");
  element("read").textContent = `as of ${found.now.slice(0, 19).replace("T", " ")} UTC`;
  element("reading").hidden = found.may_operate;
  element("login").hidden = found.may_operate;
  element("prefect").hidden = !found.prefect_url;
  if (found.prefect_url) element("prefect").href = found.prefect_url;
}

async function load(words) {
  try {
    state.found = await ask("/api/operations", { headers: headers() });
    element("message").textContent = "";
    show(words);
  } catch (error) {
    element("message").textContent = error.message;
    if (!state.found) element("status").textContent = "The watches could not be read.";
  }
  document.body.dataset.ready = "true";
}

element("shown").addEventListener("change", () => state.found && show());
element("reload").addEventListener("click", () => load());
setInterval(() => { if (!state.busy && !document.hidden) load(); }, REFRESH_MS);
load();
