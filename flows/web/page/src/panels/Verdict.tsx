// Confirm or reject the chosen object, or draw its outline anew.
import { useState } from "preact/hooks";
import { identity, send } from "../api";
import { loadAlerts } from "../loading";
import { Answer, findProblem, type Said, SILENT, Who } from "../ui/parts";

type Kind = "confirmed" | "rejected";

export function Verdict({ track, done }: { track: string; done: () => void }) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [said, say] = useState<Said>(SILENT);

  async function decide(verdict: Kind) {
    const problem = findProblem("decided");
    if (problem) return say({ words: problem, good: false });
    setBusy(true);
    try {
      await send("/api/reviews", { track_id: track, verdict, reviewer: identity.read().person.trim(), reason: reason.trim() });
      say({ words: `Done: ${verdict}.`, good: true });
      done();
      await loadAlerts();
    } catch (error) {
      say({ words: (error as Error).message, good: false });
    }
    setBusy(false);
    return undefined;
  }

  return (
    <details class="verdict">
      <summary>Confirm or reject</summary>
      <Who note={reason} setNote={setReason} />
      <fieldset disabled={busy} aria-label="Verdict">
        <button type="button" onClick={() => decide("confirmed")}>Confirm: it is there</button>
        <button type="button" onClick={() => decide("rejected")}>Reject: it is not</button>
      </fieldset>
      <Answer said={said} />
    </details>
  );
}
