// Labels the samples of an assessment, one after the other. The map's answer is shown once a sample is labelled.
const element = (id) => document.getElementById(id);
const KEPT = { labeller: "segwatch.person", token: "segwatch.token" };
const KEYS = { 1: "both", 2: "after", 3: "before", 4: "neither", 0: "unclear" };
const WORDS = { both: "in both", after: "only after", before: "only before", neither: "in neither", unclear: "cannot tell" };
// Width of a picture in pixels of the source, and its limits
const ZOOM = { start: 64, least: 16, most: 512 };
const state = { watch: "", gsd: 10, samples: [], at: 0, pixels: ZOOM.start, busy: false, pictures: 0 };

for (const [id, key] of Object.entries(KEPT)) element(id).value = sessionStorage.getItem(key) ?? "";

const say = (words) => { element("message").textContent = words; };
const headers = () => ({ "Authorization": `Bearer ${element("token").value.trim()}` });
const minute = (time) => `${new Date(time).toISOString().slice(0, 16).replace("T", " ")} UTC`;

async function describeRefusal(response) {
  if (response.status === 401) return "The token is invalid or has not the scope review.";
  const body = await response.json().catch(() => ({}));
  return typeof body.detail === "string" ? body.detail : `The server responded with status ${response.status}.`;
}

async function listWatches() {
  const token = sessionStorage.getItem(KEPT.token);
  const response = await fetch("/api/watches", token ? { headers: headers() } : {});
  if (response.status === 401) return location.assign("/login");
  const wanted = new URLSearchParams(location.search).get("watch");
  const rows = response.ok ? await response.json() : [];
  element("watch").replaceChildren(...rows.map((row) => new Option(row.watch, row.watch, false, row.watch === wanted)));
  return undefined;
}

async function start() {
  for (const [id, key] of Object.entries(KEPT)) sessionStorage.setItem(key, element(id).value.trim());
  state.watch = element("watch").value;
  // fetch refuses other characters in a header with an unhelpful message
  if (!/^[\x21-\x7e]+$/.test(element("token").value.trim())) return say("The token contains invalid characters.");
  const response = await fetch(`/api/samples?${new URLSearchParams({ watch: state.watch })}`, { headers: headers() });
  if (!response.ok) return say(await describeRefusal(response));
  const found = await response.json();
  Object.assign(state, { samples: found.samples, gsd: found.gsd_m, pixels: ZOOM.start });
  state.at = Math.max(0, state.samples.findIndex((one) => one.label === null));
  element("name").textContent = state.watch;
  document.body.dataset.watch = state.watch;
  say("");
  element("revealed").textContent = "";
  show();
  return document.activeElement?.blur();
}

/** Show the current sample. */
function show() {
  const done = state.samples.filter((one) => one.label !== null).length;
  element("done").value = state.samples.length ? done / state.samples.length : 1;
  const rest = state.samples.length - done;
  element("progress").textContent = `${done} of ${state.samples.length} samples labelled`
    + (rest ? "" : "; all done: segwatch assess report shows the accuracy");
  const sample = state.samples[state.at];
  element("sample").hidden = !sample;
  if (!sample) return;
  element("question").textContent = `Sample ${sample.ordinal}: where is ${sample.target} at the cross?`;
  for (const button of element("labels").children) {
    button.setAttribute("aria-pressed", String(button.dataset.label === sample.label));
    // with one picture, nothing can have come or gone
    button.disabled = sample.before_scene === null && ["after", "before"].includes(button.dataset.label);
  }
  document.body.dataset.sample = String(sample.ordinal);
  const number = ++state.pictures;
  showPicture("before", sample, sample.before_scene, sample.before_at, number);
  showPicture("after", sample, sample.after_scene, sample.after_at, number);
}

/** Show one picture; the token goes along, which an <img> cannot send. */
async function showPicture(side, sample, scene, time, number) {
  const figure = element(side);
  const [image, caption] = [figure.querySelector("img"), figure.querySelector("figcaption")];
  image.hidden = true;
  if (scene === null) {
    caption.textContent = "observed only once: there is no earlier picture";
    return;
  }
  caption.textContent = `${side}: ${minute(time)}`;
  const query = new URLSearchParams({
    watch: state.watch, lon: sample.lon, lat: sample.lat, width_m: state.pixels * state.gsd,
  });
  try {
    const response = await fetch(`/imagery/chips/${scene}.png?${query}`, { headers: headers() });
    if (number !== state.pictures) return; // another sample is shown meanwhile
    if (!response.ok) throw new Error(await describeRefusal(response));
    const content = URL.createObjectURL(await response.blob());
    image.onload = () => URL.revokeObjectURL(content);
    image.src = content;
    image.hidden = false;
  } catch (error) {
    if (number === state.pictures) caption.textContent = `${side}: the picture cannot be shown: ${error.message}`;
  }
}

async function label(word) {
  const sample = state.samples[state.at];
  if (!sample || state.busy || element("sample").hidden) return;
  const button = element("labels").querySelector(`[data-label=${word}]`);
  if (button.disabled) return;
  state.busy = true;
  try {
    const response = await fetch(`/api/samples/${sample.sample_id}/labels`, {
      method: "POST",
      headers: { ...headers(), "Content-Type": "application/json" },
      body: JSON.stringify({ label: word, labeller: element("labeller").value.trim() }),
    });
    if (!response.ok) return say(await describeRefusal(response));
    const answer = await response.json();
    sample.label = word;
    say("");
    element("revealed").textContent = `Sample ${sample.ordinal}: you said ${WORDS[word]}. ${reveal(answer)}`;
    const next = state.samples.findIndex((one, index) => index > state.at && one.label === null);
    const first = state.samples.findIndex((one) => one.label === null);
    if (next !== -1 || first !== -1) state.at = next === -1 ? first : next;
    show();
  } catch {
    say("The server cannot be reached; the label was perhaps not stored. Try again.");
  } finally {
    state.busy = false;
  }
  return undefined;
}

/** Say what the map has there. */
function reveal({ stratum, agrees }) {
  const map = {
    mapped: "The map shows it there", background: "The map does not show it there", object: "The map shows an object there",
    refuted: "A change there was refuted",
  }[stratum] ?? `The map reports a change: ${stratum}`;
  return agrees === null ? `${map}.` : `${map}: your label ${agrees ? "agrees" : "differs"}.`;
}

function zoom(factor) {
  state.pixels = Math.min(ZOOM.most, Math.max(ZOOM.least, state.pixels * factor));
  show();
}

element("who").addEventListener("submit", (event) => {
  event.preventDefault();
  start().catch(() => say("The server cannot be reached. Try again."));
});
for (const button of element("labels").children) button.addEventListener("click", () => label(button.dataset.label));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
  if (KEYS[event.key]) label(KEYS[event.key]);
  else if (event.key === "+") zoom(0.5);
  else if (event.key === "-") zoom(2);
  else if (event.key === "ArrowLeft" && state.at > 0) { state.at -= 1; show(); }
});
listWatches().catch(() => say("The server cannot be reached. Reload the page."));
