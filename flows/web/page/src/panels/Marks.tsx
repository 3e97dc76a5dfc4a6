// Acknowledge, snooze, resolve or reopen one alert, or many together.
import { useState } from "preact/hooks";
import { identity, send } from "../api";
import { loadAlerts, loadOpened } from "../loading";
import { store } from "../store";
import type { Alert } from "../types";
import { Answer, findProblem, type Said, SILENT, Who } from "../ui/parts";

const HOUR_MS = 3_600_000;
/** Alerts that the server marks with one request. */
const MAX_TOGETHER = 500;
const BUTTONS = [["acknowledged", "Acknowledge"], ["resolved", "Resolve"], ["reopened", "Reopen"], ["snoozed", "Snooze"]] as const;
type Mark = (typeof BUTTONS)[number][0];

/** `done` hears of a success, for a list whose selection then goes away with this form. */
export function Marks({ alerts, done }: { alerts: Alert[]; done?: (said: Said) => void }) {
  const [note, setNote] = useState("");
  const [hours, setHours] = useState("24");
  const [busy, setBusy] = useState(false);
  const [said, say] = useState<Said>(SILENT);

  async function mark(kind: Mark) {
    const problem = findProblem("is taking care of the alert", "acknowledge or review");
    if (problem) return say({ words: problem, good: false });
    setBusy(true);
    const answer = await markAll(alerts, kind, note.trim(), Number(hours));
    say(answer);
    if (answer.good) done?.(answer);
    setBusy(false);
    return undefined;
  }

  const [first] = alerts;
  const held = alerts.length === 1 && first ? (first.status === "open" ? "reopened" : first.status) : "";
  return (
    <div class="marks">
      <Who note={note} setNote={setNote} ids />
      <fieldset id="marks" disabled={busy} aria-label={alerts.length === 1 ? "Mark the alert as" : `Mark ${alerts.length} alerts as`}>
        {BUTTONS.filter(([kind]) => kind !== held || kind === "snoozed").map(([kind, label]) => (
          <button key={kind} type="button" data-mark={kind} onClick={() => mark(kind)}>{label}</button>
        ))}
        <select id="hours" aria-label="Length of the snooze" value={hours} onChange={(event) => setHours(event.currentTarget.value)}>
          <option value="1">1 hour</option>
          <option value="8">8 hours</option>
          <option value="24">1 day</option>
          <option value="168">7 days</option>
        </select>
      </fieldset>
      <Answer said={said} id="answer" />
    </div>
  );
}

/** Mark all the alerts, or none; a mark that is in force already changes nothing. */
async function markAll(alerts: Alert[], mark: Mark, note: string, hours: number): Promise<Said> {
  const until = mark === "snoozed" ? { until: new Date(Date.now() + hours * HOUR_MS).toISOString() } : {};
  const body = { mark, person: identity.read().person.trim(), note, ...until };
  try {
    for (let at = 0; at < alerts.length; at += MAX_TOGETHER) {
      const some = alerts.slice(at, at + MAX_TOGETHER).map((one) => one.alert_id);
      await send("/api/alerts/marks", { ...body, alerts: some });
    }
  } catch (error) {
    return { words: (error as Error).message, good: false };
  }
  store.set({ picked: [] });
  await Promise.all([loadAlerts(), loadOpened()]);
  return { words: alerts.length === 1 ? `Done: ${mark}.` : `Done: ${alerts.length} alerts ${mark}.`, good: true };
}
