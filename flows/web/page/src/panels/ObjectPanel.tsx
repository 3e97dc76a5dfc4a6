// The chosen object: what it is, how sure that is, how it came to be, and what people say about it.
import { useEffect, useRef, useState } from "preact/hooks";
import { address, get, Refused } from "../api";
import { closeObject, openObject } from "../choosing";
import { currentAlert, currentWatch, LOADING, type Loaded, ready, sceneIndex, store, useStore } from "../store";
import type { Alert, History, DrawnObject, ObjectState, Relative, Review } from "../types";
import { Await, Facts } from "../ui/parts";
import { Roving } from "../ui/Roving";
import { area, boxOf, count, day, describeBelief, describeMark, describeStatus, share } from "../words";
import { Chips, type Place } from "./Chips";
import { AreaChart } from "./AreaChart";
import { Marks } from "./Marks";
import { Verdict } from "./Verdict";

export function ObjectPanel() {
  const state = useStore();
  const alert = currentAlert(state);
  if (!state.address.object) return <ObjectsInView />;
  return (
    <>
      <button type="button" class="link" onClick={closeObject}>← All alerts</button>
      {alert && <AlertCard alert={alert} />}
      <ObjectCard key={state.address.object} />
    </>
  );
}

/** Objects on the map, for choosing one without a pointer. */
function ObjectsInView() {
  const { inView, counts } = useStore();
  return (
    <>
      <h2 tabIndex={-1}>Objects in view</h2>
      {inView.length === 0
        ? <p>No outline is in view. Zoom in, move the map, or choose another date. A click on an object shows its history here.</p>
        : <p class="quiet">Click an object on the map, or choose one here. {inView.length} of {count(counts.objects, "object")} in view are listed, the largest first.</p>}
      <Roving label="Objects in view, the largest first" rows={inView.slice(0, 200)} id={(one) => one.track_id} current="" open={(one) => openObject(one.track_id)}>
        {(one) => <span><strong>{one.target}</strong> {area(one.area_m2)} <small>{one.shows} · {describeStatus(one.status, one.confidence)}</small></span>}
      </Roving>
    </>
  );
}

function AlertCard({ alert }: { alert: Alert }) {
  return (
    <section class="card" id="marking" aria-label="Selected alert">
      <h2 tabIndex={-1}>Alert: {alert.kind}, rule {alert.rule}</h2>
      <p id="marked">{alert.target} {alert.kind}, {day(alert.valid_at)}: {describeMark(alert)}</p>
      <p class="quiet">
        {area(alert.before_m2)} → {area(alert.after_m2)}; {describeBelief(alert)}; {alert.delivered_at ? `delivered ${day(alert.delivered_at)}` : "not delivered yet"}
        {alert.retracted_at ? `; retracted: ${alert.retracted_because ?? ""}` : ""}
      </p>
      <Marks alerts={[alert]} />
    </section>
  );
}

function useObject(track: string, at: string) {
  const [object, setObject] = useState<Loaded<ObjectState>>(LOADING);
  const [again, retry] = useState(0);
  useEffect(() => {
    let current = true;
    if (!at) return undefined;
    get<ObjectState>(`/api/objects/${encodeURIComponent(track)}`, { at })
      .then(({ value }) => current && setObject({ is: "ready", value }))
      .catch((error: Error) => current && setObject({ is: "failed", why: explainMissing(error, at) }));
    return () => { current = false; };
  }, [track, at, again]);
  return { object, retry: () => retry(again + 1) };
}

const explainMissing = (error: Error, at: string) =>
  error instanceof Refused && error.status === 404 ? `it was not known on ${day(at)}; choose a later date, or check the id` : error.message;

/** History of an object; null where this server has none. */
function useHistory(track: string, watch: string): History | null {
  const [history, setHistory] = useState<History | null>(null);
  useEffect(() => {
    let current = true;
    get<History>(`/api/objects/${encodeURIComponent(track)}/history`, { watch })
      .then(({ value }) => current && setHistory(value))
      .catch(() => current && setHistory(null));
    return () => { current = false; };
  }, [track, watch]);
  return history;
}

function useReviews(watch: string, track: string): { reviews: Review[]; reload: () => void } {
  const [reviews, setReviews] = useState<Review[]>([]);
  const [again, reload] = useState(0);
  useEffect(() => {
    let current = true;
    get<Review[]>("/api/reviews", { watch })
      .then(({ value }) => current && setReviews(value.filter((one) => one.track_id === track)))
      .catch(() => current && setReviews([]));
    return () => { current = false; };
  }, [watch, track, again]);
  return { reviews, reload: () => reload(again + 1) };
}

/** Place of the object: as drawn, else of its alert; it stays while the map moves on. */
function usePlace(drawn: DrawnObject | undefined, alert: Alert | null): Place | null {
  const kept = useRef<Place | null>(null);
  const box = alert && boxOf(alert);
  if (box) kept.current = { lon: wrap((box[0] + box[2]) / 2), lat: (box[1] + box[3]) / 2, area_m2: Math.max(alert.before_m2, alert.after_m2) };
  else if (drawn && !kept.current) kept.current = drawn;
  return kept.current;
}

const wrap = (longitude: number) => ((longitude + 540) % 360) - 180;

function ObjectCard() {
  const state = useStore();
  const { object: track, watch } = state.address;
  const at = (ready(state.scenes) ?? [])[sceneIndex(state)]?.acquired_at ?? "";
  const { object, retry } = useObject(track, at);
  const history = useHistory(track, watch);
  const { reviews, reload } = useReviews(watch, track);
  const drawn = state.inViewAt === at ? state.inView.find((one) => one.track_id === track) : undefined;
  const place = usePlace(drawn, currentAlert(state));
  return (
    <section id="object" aria-label="Selected object">
      <h2 tabIndex={-1}>{object.is === "ready" ? object.value.target : "Object"} on {day(at)}</h2>
      <Await of={object} what="object" retry={retry}>
        {(value) => (
          <Facts rows={[
            ["object", value.last_change?.kind === "disappeared" ? `gone: ${describeStatus(value.last_change.status, value.last_change.confidence)}` : describeStatus(value.status, value.confidence, value.confidence_calibrated)],
            ...(drawn ? [["area", area(drawn.area_m2)], ["state since", day(drawn.since)], ["score", share(drawn.score)]] as [string, string][] : []),
            ["last change", value.last_change ? `${value.last_change.kind} ${day(value.last_change.valid_at)}` : "none"],
            ...(value.last_change ? [["how sure", describeStatus(value.last_change.status, value.last_change.confidence, value.last_change.confidence_calibrated)] as [string, string]] : []),
            ...Object.entries(value.words),
          ]} />
        )}
      </Await>
      {history && <AreaChart history={history} at={at} />}
      {place && <Chips place={place} />}
      {history && <Lineage history={history} />}
      <Provenance track={track} history={history} />
      <h3>Verdict of people</h3>
      {reviews.length === 0 && <p class="quiet">Nobody has reviewed this object yet.</p>}
      <ul class="plain">
        {reviews.map((one) => (
          <li key={one.review_id} class={one.holds ? "" : "quiet"}>
            <strong>{one.verdict}</strong> {day(one.decided_at)}{one.reviewer ? ` by ${one.reviewer}` : ""}{one.reason ? `: ${one.reason}` : ""}{one.holds ? "" : " (no longer in force)"}
          </li>
        ))}
      </ul>
      <Verdict track={track} done={reload} />
    </section>
  );
}

/** Objects that this one came out of, and those that came out of it. */
function Lineage({ history }: { history: History }) {
  const lines: [string, Relative[]][] = [["came out of", history.parents], ["went into", history.children]];
  const known = lines.filter(([, relatives]) => relatives.length > 0);
  if (!known.length) return null;
  return (
    <>
      <h3>Lineage</h3>
      <ul class="plain">
        {known.flatMap(([words, relatives]) => relatives.map((one) => (
          <li key={`${words} ${one.track_id}`}>{one.kind} {day(one.at)}: {words} <button type="button" class="link" onClick={() => openObject(one.track_id)}>{one.track_id.slice(0, 8)}</button></li>
        )))}
      </ul>
    </>
  );
}

function Provenance({ track, history }: { track: string; history: History | null }) {
  const state = useStore();
  const watch = currentWatch(state);
  const seen = history?.observations.filter((one) => one.item_href) ?? [];
  const last = seen.at(-1);
  return (
    <details>
      <summary>Where this comes from</summary>
      <Facts rows={[
        ["instruction", last?.instruction ?? watch?.instruction ?? "unknown"],
        ["model", last?.model ?? watch?.model ?? "unknown"],
        ...(last ? [["newest item", last.item_href ?? ""], ["score", share(last.score)], ["visible", last.visible_share == null ? "unknown" : `${Math.round(last.visible_share * 100)} %`]] as [string, string][] : []),
        ["object id", <code key="id">{track}</code>],
        ["in GIS", <a key="ogc" href={address("/ogc/collections/watch.object_history/items", { track_id: track, f: "geojson" })}>all states as GeoJSON</a>],
      ]} />
      <button type="button" onClick={() => store.go({ tab: "watch" })}>About this watch</button>
    </details>
  );
}
