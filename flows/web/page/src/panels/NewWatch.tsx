// A new watch: area, source, instruction; what it would cost; a trial on the newest clear scene; save it.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { getFile, identity } from "../api";
import { boxOfView, showBox } from "../choosing";
import { areaOfBox, boxOfArea, readArea, type Area } from "../drafts/area";
import { change, checkCatalog, loadSources, preview, save, tryDraft } from "../drafts/server";
import type { Draft, Source, Sources, Trial } from "../drafts/types";
import { describeCheck, describeCost, describePreview, describeTrial } from "../drafts/words";
import { LOADING, type Loaded, useStore } from "../store";
import { Answer, Await, Facts, type Said, SILENT } from "../ui/parts";
import { usePen } from "../ui/pen";
import { day } from "../words";

const MIN_INSTRUCTION = 3;
const MAX_INSTRUCTION = 500;
const DAY_MS = 86_400_000;

export function NewWatch() {
  const [sources, setSources] = useState<Loaded<Sources>>(LOADING);
  const load = () => {
    setSources(LOADING);
    loadSources().then((value) => setSources({ is: "ready", value }), (error: Error) => setSources({ is: "failed", why: error.message }));
  };
  useEffect(load, []);
  return (
    <>
      <h2 tabIndex={-1}>New watch</h2>
      <Await of={sources} what="sources" retry={load}>
        {(value) => (value.may_try ? <Form sources={value} /> : <Refused why={value.why_not} again={load} />)}
      </Await>
    </>
  );
}

function Refused({ why, again }: { why: string | null; again: () => void }) {
  return (
    <>
      <p role="status">{why ?? "This server takes no new watches."}</p>
      <Token />
      <button type="button" onClick={again}>Try again</button>
      <p class="quiet">On a machine with segwatch: write a watch file, then <code>segwatch apply FILE</code>.</p>
    </>
  );
}

/** The token of this tab; whoever is logged in needs none. */
function Token() {
  const [token, setToken] = useState(identity.read().token);
  const keep = (given: string) => {
    setToken(given);
    identity.keep(identity.read().person, given);
  };
  return <label class="field">Token with the scope operate, unless you are logged in <input type="password" autocomplete="off" value={token} onInput={(event) => keep(event.currentTarget.value)} /></label>;
}

/** What is missing before the server can be asked; empty if nothing is. */
function findMissing({ source, instruction, area }: Draft): string {
  if (!area) return "Choose an area first: draw it, read a file, or take the view.";
  if (!source) return "Choose a source of images first.";
  return instruction.trim().length < MIN_INSTRUCTION ? "Write what to segment first, such as “segment the water”." : "";
}

function Form({ sources }: { sources: Sources }) {
  const { draft } = useStore();
  const { limits } = sources;
  return (
    <>
      <Place area={draft.area} />
      <label class="field">Source of images <SourceChoice sources={sources.sources} chosen={draft.source} /></label>
      <label class="field">Instruction <input
        maxLength={MAX_INSTRUCTION} placeholder="segment the water" value={draft.instruction}
        onInput={(event) => change({ instruction: event.currentTarget.value })}
      /></label>
      <Token />
      <Asking draft={draft} />
      <p class="quiet">A trial takes up to {limits.area_km2} km² and {limits.tiles} tiles; it writes nothing to the watches, and is kept for {limits.hours} hours.</p>
      {draft.trial && <Outcome trial={draft.trial} />}
      <Save draft={draft} />
    </>
  );
}

function SourceChoice({ sources, chosen }: { sources: Source[]; chosen: string }) {
  const used = sources.filter((one) => one.watches.length);
  const shipped = sources.filter((one) => !one.watches.length);
  const list = (some: Source[]) => some.map((one) => <option key={one.id} value={one.id}>{one.title}, {one.gsd_m} m{one.last_at ? `, until ${day(one.last_at)}` : ""}</option>);
  return (
    <select value={chosen} onChange={(event) => change({ source: event.currentTarget.value })}>
      <option value="">choose one</option>
      {used.length > 0 && <optgroup label="Sources of your watches">{list(used)}</optgroup>}
      {shipped.length > 0 && <optgroup label="Public catalogs">{list(shipped)}</optgroup>}
    </select>
  );
}

/** Draw the area, read it from a file, or take what the map shows. */
function Place({ area }: { area: Area | null }) {
  const { pen, drawn, start, stop } = usePen();
  const [said, say] = useState<Said>(SILENT);
  const take = (found: Area, words: string) => {
    change({ area: found, trial: null });
    say({ words, good: true });
  };
  const read = async (file: File | undefined) => {
    if (!file) return;
    try {
      const found = readArea(await file.text());
      take(found, `The area of ${file.name} is on the map.`);
      showBox(boxOfArea(found));
    } catch (error) {
      say({ words: (error as Error).message, good: false });
    }
  };
  const takeView = () => {
    const [west, south, east, north] = boxOfView().split(",").map(Number);
    if (west === undefined || south === undefined || east === undefined || north === undefined) return;
    take(areaOfBox([west, south, east, north]), "What the map shows now is the area.");
  };
  const takeDrawn = () => {
    const found = pen?.read();
    stop();
    if (found) take(found, "The area is on the map.");
  };
  return (
    <fieldset class="card" aria-label="Area">
      <legend>Area</legend>
      <div class="row">
        {!pen && <button type="button" onClick={() => start().catch((error: Error) => say({ words: error.message, good: false }))}>Draw it on the map</button>}
        {!pen && <button type="button" onClick={takeView}>Take the view</button>}
        {pen && <button type="button" disabled={!drawn} onClick={takeDrawn}>Use what is drawn</button>}
        {pen && <button type="button" onClick={stop}>Cancel</button>}
      </div>
      {pen && <p>{drawn ? "Drag the corners until the area fits, then use it." : "Click the corners on the map; click the first one again, or press Enter, to close the area."}</p>}
      <label class="field">Or a GeoJSON file <input type="file" accept=".geojson,.json,application/geo+json" onChange={(event) => void read(event.currentTarget.files?.[0])} /></label>
      {!area && <p class="quiet">No area yet.</p>}
      <Answer said={said} />
    </fieldset>
  );
}

/** The three questions to the server. */
function Asking({ draft }: { draft: Draft }) {
  const [busy, setBusy] = useState("");
  const [said, say] = useState<Said>(SILENT);
  const [facts, setFacts] = useState<[string, ComponentChildren][]>([]);
  const [warnings, setWarnings] = useState<string[]>([]);
  const ask = async (what: string, missing: string, question: () => Promise<void>) => {
    if (missing) return say({ words: missing, good: false });
    setBusy(what);
    say({ words: `${what} …`, good: true });
    setFacts([]);
    setWarnings([]);
    try {
      await question();
    } catch (error) {
      say({ words: (error as Error).message, good: false });
    }
    setBusy("");
    return undefined;
  };
  const needed = draft.area && draft.source ? "" : findMissing({ ...draft, instruction: "not needed" });
  const check = () => ask("Asking the catalog", needed, async () => {
    const found = await checkCatalog(draft);
    say({ words: describeCheck(found), good: found.problem === null });
  });
  const estimate = () => ask("Estimating", findMissing(draft), async () => {
    const found = await preview(draft);
    setFacts(describePreview(found));
    setWarnings(found.warnings);
    say(SILENT);
  });
  const attempt = () => ask("Trying", findMissing(draft), async () => {
    await tryDraft(draft);
    say(SILENT);
  });
  return (
    <section aria-label="Before you save">
      <div class="row">
        <button type="button" disabled={busy !== ""} onClick={check}>Check the catalog</button>
        <button type="button" disabled={busy !== ""} onClick={estimate}>Size and cost</button>
        <button type="button" disabled={busy !== ""} onClick={attempt}>Try it on the latest clear scene</button>
      </div>
      <Answer said={said} />
      {facts.length > 0 && <Facts rows={facts} />}
      <Warnings of={warnings} />
    </section>
  );
}

const Warnings = ({ of }: { of: string[] }) => (of.length ? <ul class="problem">{of.map((one) => <li key={one}>{one}</li>)}</ul> : null);

function Outcome({ trial }: { trial: Trial }) {
  const picture = usePicture(trial.state === "done" ? trial.picture : null);
  return (
    <section class="card" aria-label="Trial">
      <h3>Trial: “{trial.instruction}”</h3>
      <p role="status" class={trial.state === "failed" ? "problem" : ""}>{describeTrial(trial)}</p>
      {trial.state === "done" && <Facts rows={describeCost(trial)} />}
      {picture && <img class="picture" src={picture} alt="The scene with the outlines of what was found" />}
      {trial.scene?.attribution && <p class="quiet">{trial.scene.attribution}</p>}
    </section>
  );
}

/** Address of a picture that is read with the token of this tab; empty until it is there, or if it cannot be read. */
function usePicture(path: string | null): string {
  const [shown, show] = useState("");
  useEffect(() => {
    let made = "";
    let gone = false;
    if (path) {
      getFile(path, {}).then(({ content }) => {
        if (gone) return;
        made = URL.createObjectURL(content);
        show(made);
      }, () => undefined);
    }
    return () => {
      gone = true;
      if (made) URL.revokeObjectURL(made);
      show("");
    };
  }, [path]);
  return shown;
}

function Save({ draft }: { draft: Draft }) {
  const [name, setName] = useState("");
  const [start, setStart] = useState(new Date(Date.now() - 365 * DAY_MS).toISOString().slice(0, 10));
  const [schedule, setSchedule] = useState("0 6 * * *");
  const [alerts, setAlerts] = useState(false);
  const [said, say] = useState<Said>(SILENT);
  const [warnings, setWarnings] = useState<string[]>([]);
  const [busy, setBusy] = useState(false);
  const keep = async () => {
    const missing = findMissing(draft) || (name.trim() ? "" : "Name the watch first.") || (start ? "" : "Choose the first day first.");
    if (missing) return say({ words: missing, good: false });
    setBusy(true);
    setWarnings([]);
    try {
      const saved = await save(draft, { name: name.trim(), start: `${start}T00:00:00Z`, schedule: schedule.trim(), alerts });
      const how = saved.created ? "is saved" : "was saved before, just so";
      say({ words: `The watch ${saved.watch} ${how}. ${saved.note ?? ""}`.trim(), good: true });
      setWarnings(saved.warnings);
    } catch (error) {
      say({ words: (error as Error).message, good: false });
    }
    setBusy(false);
    return undefined;
  };
  return (
    <fieldset class="card" disabled={busy} aria-label="Save as a watch">
      <legend>Save as a watch</legend>
      <label class="field">Name <input autocomplete="off" maxLength={100} placeholder="harbour-water" value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
      <label class="field">Scenes since <input type="date" value={start} onInput={(event) => setStart(event.currentTarget.value)} /></label>
      <label class="field">Schedule (cron, UTC; empty: none) <input autocomplete="off" value={schedule} onInput={(event) => setSchedule(event.currentTarget.value)} /></label>
      <label><input type="checkbox" checked={alerts} onChange={(event) => setAlerts(event.currentTarget.checked)} /> An alert for every change, in the inbox only</label>
      <button type="button" onClick={keep}>Save the watch</button>
      <Answer said={said} />
      <Warnings of={warnings} />
    </fieldset>
  );
}
