// Panel of an alert: acknowledge, snooze, resolve, reopen. The token stays in this tab.
const element = (id) => document.getElementById(id);
const KEPT = { person: "segwatch.person", token: "segwatch.token" };
const HOUR = 3_600_000;
const chosen = { alert: null, changed: null };

for (const [id, key] of Object.entries(KEPT)) element(id).value = sessionStorage.getItem(key) ?? "";

/** Describe the status of an alert. */
export function status(alert) {
  if (alert.status === "open") return "open";
  const until = alert.status === "snoozed" ? ` until ${minute(alert.snoozed_until)} UTC` : "";
  return `${alert.status}${until}${alert.status_by ? ` by ${alert.status_by}` : ""}`;
}

/** Show the panel of an alert; `changed` is called once a mark was recorded. */
export function showMarks(alert, changed) {
  Object.assign(chosen, { alert, changed });
  element("marking").hidden = false;
  element("marked").textContent = `${alert.target} ${alert.kind}, ${day(alert.valid_at)}: ${status(alert)}`;
  const holds = alert.status === "open" ? "reopened" : alert.status;
  for (const button of element("marks").querySelectorAll("button")) {
    // only a snooze can be repeated, to make it longer
    button.hidden = button.dataset.mark === holds && holds !== "snoozed";
  }
  say("", true);
}

export function hideMarks() {
  chosen.alert = null;
  element("marking").hidden = true;
}

const day = (time) => time.slice(0, 10);
const minute = (time) => new Date(time).toISOString().slice(0, 16).replace("T", " ");

function say(words, good) {
  element("answer").textContent = words;
  element("answer").dataset.good = String(good);
}

/** Say what is missing or wrong in the form; empty if it can be sent. */
function findProblem(person, token) {
  if (!person) return "Enter your name, so that others see who is taking care of the alert.";
  if (!token) return "Enter a token with the scope review; the operator of this server creates it.";
  // fetch refuses other characters in a header with an unhelpful message
  if (!/^[\x21-\x7e]+$/.test(token)) return "The token contains invalid characters.";
  return "";
}

async function describeRefusal(response) {
  if (response.status === 401) return "The token is invalid; nothing was changed.";
  const body = await response.json().catch(() => ({}));
  const reason = typeof body.detail === "string" ? body.detail : `the server responded with status ${response.status}`;
  return `Nothing was changed: ${reason}`;
}

async function send(mark) {
  const { alert, changed } = chosen;
  const [person, token] = ["person", "token"].map((id) => element(id).value.trim());
  const problem = findProblem(person, token);
  if (problem) return say(problem, false);
  const body = { mark, person, note: element("note").value.trim() };
  if (mark === "snoozed") body.until = new Date(Date.now() + Number(element("hours").value) * HOUR).toISOString();
  let response;
  try {
    response = await fetch(`/api/alerts/${encodeURIComponent(alert.alert_id)}/marks`, {
      method: "POST",
      headers: { "Authorization": `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    return say("The server cannot be reached, so it is unknown whether anything was changed. Try again.", false);
  }
  if (!response.ok) return say(await describeRefusal(response), false);
  sessionStorage.setItem(KEPT.person, person);
  sessionStorage.setItem(KEPT.token, token);
  element("note").value = "";
  try {
    await changed(alert.alert_id);
  } catch {
    return say(`Done: ${mark}. The list of alerts could not be reloaded; reload the page.`, true);
  }
  return say(`Done: ${mark}.`, true);
}

for (const button of element("marks").querySelectorAll("button")) {
  button.addEventListener("click", async () => {
    element("marks").disabled = true;
    try {
      await send(button.dataset.mark);
    } finally {
      element("marks").disabled = false;
    }
  });
}
