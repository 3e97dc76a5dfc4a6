// Confirm or reject the chosen object, or draw its outline anew.
import { useState } from "preact/hooks";
import { identity, send } from "../api";
import { getStage } from "../choosing";
import { loadAlerts } from "../loading";
import { Answer, findProblem, type Said, SILENT, Who } from "../ui/parts";
import { usePen } from "../ui/pen";

type Kind = "confirmed" | "rejected" | "edited";

export function Verdict({ track, done }: { track: string; done: () => void }) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [said, say] = useState<Said>(SILENT);
  const { pen, drawn, start, stop } = usePen();

  async function decide(verdict: Kind) {
    const problem = findProblem("decided", "review");
    if (problem) return say({ words: problem, good: false });
    setBusy(true);
    const outline = verdict === "edited" ? { outline: pen?.read() } : {};
    try {
      await send("/api/reviews", { track_id: track, verdict, reviewer: identity.read().person.trim(), reason: reason.trim(), ...outline });
      say({ words: `Done: ${verdict}.`, good: true });
      stop();
      getStage()?.refresh();
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
      <summary>Confirm, reject or draw anew</summary>
      <Who note={reason} setNote={setReason} />
      <fieldset disabled={busy} aria-label="Verdict">
        <button type="button" onClick={() => decide("confirmed")}>Confirm: it is there</button>
        <button type="button" onClick={() => decide("rejected")}>Reject: it is not</button>
        {!pen && <button type="button" onClick={() => start().catch((error: Error) => say({ words: error.message, good: false }))}>Draw its outline</button>}
      </fieldset>
      {pen && (
        <fieldset disabled={busy} aria-label="Outline">
          <p>{drawn ? "Drag the corners until the outline fits, then save it." : "Click the corners of the outline on the map; click the first one again, or press Enter, to close it."}</p>
          <button type="button" disabled={!drawn} onClick={() => decide("edited")}>Save the outline</button>
          <button type="button" onClick={() => pen.clear()}>Start again</button>
          <button type="button" onClick={stop}>Cancel</button>
        </fieldset>
      )}
      <Answer said={said} />
    </details>
  );
}
