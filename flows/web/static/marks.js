// What somebody does about an alert: acknowledge, snooze, resolve, reopen. The token stays in this tab.
const element = (id) => document.getElementById(id);
const KEPT = { person: "segwatch.person", token: "segwatch.token" };
const HOUR = 3_600_000;
const chosen = { alert: null, changed: null };

for (const [id, key] of Object.entries(KEPT)) element(id).value = sessionStorage.getItem(key) ?? "";

/** What was done about an alert, in words. */
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
    // a snooze may be made longer, the others would say what holds already
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

/** What is missing before anything can be sent, in words; empty when nothing is. */
function missing(person, token) {
  if (!person) return "Write your name: others see who looks after an alert.";
  if (!token) return "Write the token: who runs this server has it.";
  // fetch refuses other characters in a header, with words that help nobody
  if (!/^[\x21-\x7e]+$/.test(token)) return "The token holds characters that no token has.";
  return "";
}

async function refusal(answer) {
  if (answer.status === 401) return "The token is not the right one; nothing was changed.";
  const told = await answer.json().catch(() => ({}));
  const reason = typeof told.detail === "string" ? told.detail : `the server answered ${answer.status}`;
  return `Nothing was changed: ${reason}`;
}

async function send(mark) {
  const { alert, changed } = chosen;
  const [person, token] = ["person", "token"].map((id) => element(id).value.trim());
  const problem = missing(person, token);
  if (problem) return say(problem, false);
  const body = { mark, person, note: element("note").value.trim() };
  if (mark === "snoozed") body.until = new Date(Date.now() + Number(element("hours").value) * HOUR).toISOString();
  let answer;
  try {
    answer = await fetch(`/api/alerts/${encodeURIComponent(alert.alert_id)}/marks`, {
      method: "POST",
      headers: { "Authorization": `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    return say("The server cannot be reached; nothing is known to have changed. Try again.", false);
  }
  if (!answer.ok) return say(await refusal(answer), false);
  sessionStorage.setItem(KEPT.person, person);
  sessionStorage.setItem(KEPT.token, token);
  element("note").value = "";
  try {
    await changed(alert.alert_id);
  } catch {
    return say(`Done: ${mark}. The list could not be read again; reload the page.`, true);
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
