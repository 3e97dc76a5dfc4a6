// The inbox of alerts: filter, sort, select many, open one.
import { useState } from "preact/hooks";
import { type Address, DEFAULTS, type Sort } from "../address";
import { openAlert } from "../choosing";
import { loadAlerts } from "../loading";
import { colourOf } from "../palette";
import { describePlace, groupByPlace, type Place } from "../places";
import { store, useStore } from "../store";
import type { Alert, Alerts } from "../types";
import { Answer, Await, type Said, SILENT } from "../ui/parts";
import { Roving } from "../ui/Roving";
import { area, count, day, describeBelief, describeMark } from "../words";
import { Marks } from "./Marks";

const MARKS = ["open", "acknowledged", "snoozed", "resolved"];
const SORTS: [Sort, string][] = [["newest", "newest first"], ["oldest", "oldest first"], ["confidence", "surest first"], ["area", "largest change first"]];

/** Change what is listed, and load it. */
function filter(change: Partial<Address>): void {
  store.go(change);
  void loadAlerts();
}

export function AlertInbox() {
  const { alerts } = useStore();
  return <Await of={alerts} what="alerts" retry={() => void loadAlerts()}>{(value) => <Inbox alerts={value} />}</Await>;
}

function Inbox({ alerts }: { alerts: Alerts }) {
  const { address, picked } = useStore();
  const places = address.places ? groupByPlace(alerts.rows) : [];
  const rows = address.places ? places.flatMap((one) => one.alerts) : alerts.rows;
  const firsts = new Map(places.map((one) => [one.alerts[0]?.alert_id ?? "", one]));
  const [said, say] = useState<Said>(SILENT);
  const chosen = rows.filter((one) => picked.includes(one.alert_id));
  return (
    <>
      <Filters alerts={alerts} />
      <p class="quiet" role="status">
        <span id="count">{rows.length} of {count(alerts.count, "alert")}{alerts.count < alerts.ofAll ? `, ${alerts.ofAll} without filters` : ""}</span>
        {rows.length > 1 && (
          <button type="button" class="link" onClick={() => store.set({ picked: chosen.length === rows.length ? [] : rows.map((one) => one.alert_id) })}>
            {chosen.length === rows.length ? "Select none" : "Select all"}
          </button>
        )}
      </p>
      {chosen.length > 0 && (
        <section class="card" aria-label="Selected alerts">
          <h3>{count(chosen.length, "alert")} selected</h3>
          {address.places && <button type="button" class="link" onClick={() => pickPlaces(places)}>Select all alerts of {chosen.length === 1 ? "its place" : "their places"}</button>}
          <Marks alerts={chosen} done={say} />
        </section>
      )}
      <Answer said={chosen.length ? SILENT : said} />
      {rows.length === 0 && <Empty alerts={alerts} />}
      <Roving
        label="Alerts. Enter opens one, Space selects it for a mark together with others." rows={rows} id={(one) => one.alert_id}
        current={address.alert} picked={picked} className={classify} open={openAlert} pick={togglePicked}
      >
        {(alert) => <Row alert={alert} picked={picked.includes(alert.alert_id)} place={firsts.get(alert.alert_id)} />}
      </Roving>
      {alerts.next && <button type="button" onClick={() => void loadAlerts(true)}>Show more of {alerts.count}</button>}
    </>
  );
}

const classify = (alert: Alert) => `alert ${alert.retracted_at ? "retracted" : ""} ${alert.change_status ?? ""}`;

function togglePicked(alert: Alert): void {
  const { picked } = store.state;
  const id = alert.alert_id;
  store.set({ picked: picked.includes(id) ? picked.filter((one) => one !== id) : [...picked, id] });
}

/** Select all alerts of the places of which one is selected. */
function pickPlaces(places: Place[]): void {
  const { picked } = store.state;
  const chosen = places.filter((one) => one.alerts.some((each) => picked.includes(each.alert_id)));
  store.set({ picked: chosen.flatMap((one) => one.alerts.map((each) => each.alert_id)) });
}

/** `place`: set for the first alert of a place, which names it. */
function Row({ alert, picked, place }: { alert: Alert; picked: boolean; place: Place | undefined }) {
  return (
    <>
      <span
        class="box" aria-hidden="true" data-picked={picked}
        onClick={(event) => { event.stopPropagation(); togglePicked(alert); }}
      />
      <span>
        {place && <small class="place">{describePlace(place)}: {count(place.alerts.length, "alert")}</small>}
        <i class="swatch" style={{ background: colourOf(alert.kind) }} />
        <strong>{alert.target} {alert.kind}</strong> {day(alert.valid_at)}
        <small>
          {area(alert.before_m2)} → {area(alert.after_m2)} · {describeBelief(alert)} · rule {alert.rule}
          {alert.delivered_at ? "" : " · not delivered yet"}
          {alert.status === "open" ? "" : ` · ${describeMark(alert)}`}
          {alert.retracted_at ? ` · retracted: ${alert.retracted_because ?? ""}` : ""}
        </small>
      </span>
    </>
  );
}

function Filters({ alerts }: { alerts: Alerts }) {
  const { address } = useStore();
  return (
    <div class="filters">
      <fieldset>
        <legend>State</legend>
        {MARKS.map((mark) => (
          <label key={mark}>
            <input type="checkbox" checked={address.marks.includes(mark)} onChange={() => filter({ marks: toggle(MARKS, address.marks, mark) })} /> {mark}
          </label>
        ))}
      </fieldset>
      <label>Change <select value={address.kinds[0] ?? ""} onChange={(event) => filter({ kinds: event.currentTarget.value ? [event.currentTarget.value] : [] })}>
        <option value="">any</option>
        {alerts.kinds.map((kind) => <option key={kind} value={kind}>{kind}</option>)}
      </select></label>
      <label>Order <select value={address.sort} onChange={(event) => filter({ sort: event.currentTarget.value as Sort })}>
        {SORTS.map(([sort, label]) => <option key={sort} value={sort}>{label}</option>)}
      </select></label>
      <label><input type="checkbox" checked={address.places} onChange={() => store.go({ places: !address.places })} /> Group by place</label>
    </div>
  );
}

/** Add or remove an option, in the order of the options. */
const toggle = (options: string[], chosen: string[], one: string) =>
  options.filter((each) => (each === one ? !chosen.includes(each) : chosen.includes(each)));

function Empty({ alerts }: { alerts: Alerts }) {
  if (alerts.ofAll > 0) {
    return (
      <p>
        No alert matches these filters.{" "}
        <button type="button" class="link" onClick={() => filter({ marks: MARKS, kinds: DEFAULTS.kinds, targets: [] })}>Show all</button>
      </p>
    );
  }
  return (
    <p>
      No alert so far. Alerts come from the rules of the watch. To learn why nothing was raised somewhere, choose{" "}
      <strong>Why is there no alert here?</strong> under Tools, then click the place.
    </p>
  );
}
