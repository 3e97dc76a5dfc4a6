// The page: map and dates, and a panel beside them, which is a sheet at the bottom of a narrow screen.
import { useEffect } from "preact/hooks";
import type { Tab } from "./address";
import { getStage } from "./choosing";
import { loadWatches, openWatch } from "./loading";
import type { Theme } from "./palette";
import { AlertInbox } from "./panels/AlertInbox";
import { ComparePanel } from "./panels/ComparePanel";
import { Legend } from "./panels/Legend";
import { MapView } from "./panels/MapView";
import { NewWatch } from "./panels/NewWatch";
import { ObjectPanel } from "./panels/ObjectPanel";
import { PrintFrame } from "./panels/PrintFrame";
import { Search } from "./panels/Search";
import { Timeline } from "./panels/Timeline";
import { Tools } from "./panels/Tools";
import { WatchPanel } from "./panels/WatchPanel";
import { currentWatch, ready, sceneIndex, store, useStore } from "./store";
import { Await } from "./ui/parts";

const NARROW = "(max-width: 760px)";
const TABS: [Tab, string][] = [["alerts", "Alerts"], ["object", "Object"], ["compare", "Compare"], ["watch", "Watch"], ["tools", "Tools"], ["new", "New"]];

function useTheme(): Theme {
  const { address } = useStore();
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = address.theme === "auto" ? (dark ? "dark" : "light") : address.theme;
  useEffect(() => { document.documentElement.dataset.theme = theme; }, [theme]);
  return theme;
}

export function App() {
  const { address, watches, sheet } = useStore();
  const theme = useTheme();
  useEffect(() => {
    // alerts and scenes belong to the watch: until both are there, no button leads to another watch's object
    const { scenes, alerts } = store.state;
    if (scenes.is === "ready" && alerts.is === "ready") document.body.dataset.watch = address.watch;
    else delete document.body.dataset.watch;
  });
  return (
    <div class="page" data-sheet={sheet ? "open" : "closed"}>
      <a class="skip" href="#panel" onClick={(event) => { event.preventDefault(); document.querySelector<HTMLElement>("[role=tabpanel]")?.focus(); }}>Skip the map</a>
      <header class="bar">
        <h1>segwatch</h1>
        <WatchChoice />
        <Search />
        <button type="button" class="theme" aria-label={theme === "dark" ? "Light colours" : "Dark colours"} onClick={() => store.go({ theme: theme === "dark" ? "light" : "dark" })}>{theme === "dark" ? "☀" : "☾"}</button>
      </header>
      <main>
        <MapView theme={theme} />
        <Notices />
        <Legend open={!window.matchMedia(NARROW).matches} />
        <Accuracy />
        <Timeline />
        <PrintFrame />
      </main>
      <aside>
        <button type="button" class="handle" aria-expanded={sheet} aria-controls="panel" onClick={() => store.set({ sheet: !sheet })}>{sheet ? "Show more of the map" : "Show alerts and details"}</button>
        <Await of={watches} what="watches" retry={loadWatches}>
          {(value) => (value.length ? <Tabs tab={address.tab} /> : <FirstSteps />)}
        </Await>
        <Sources />
      </aside>
    </div>
  );
}

function WatchChoice() {
  const { watches, address } = useStore();
  const rows = ready(watches) ?? [];
  return (
    <label>Watch <select id="watch" value={address.watch} onChange={(event) => void openWatch(event.currentTarget.value)}>
      {rows.map((row) => <option key={row.watch} value={row.watch}>{row.state === "active" ? row.watch : `${row.watch} (${row.state})`}</option>)}
    </select></label>
  );
}

/** How far to trust what is drawn: in sight at any time, whatever panel is open. */
function Accuracy() {
  const watch = currentWatch(useStore());
  return watch && <p id="accuracy">{watch.accuracy.join("; ") || "not assessed"}</p>;
}

function Tabs({ tab }: { tab: Tab }) {
  const { alerts } = useStore();
  const open = ready(alerts)?.open ?? 0;
  function onKey(event: KeyboardEvent) {
    const at = TABS.findIndex(([id]) => id === tab);
    const next = event.key === "ArrowRight" ? at + 1 : event.key === "ArrowLeft" ? at - 1 : -1;
    const [id] = TABS[(next + TABS.length) % TABS.length] ?? [tab];
    if (!["ArrowRight", "ArrowLeft"].includes(event.key)) return;
    store.go({ tab: id });
    requestAnimationFrame(() => document.getElementById(`tab-${id}`)?.focus());
  }
  return (
    <>
      <div role="tablist" aria-label="Panels" onKeyDown={onKey}>
        {TABS.map(([id, label]) => (
          <button key={id} type="button" role="tab" id={`tab-${id}`} aria-selected={id === tab} aria-controls="panel" tabIndex={id === tab ? 0 : -1} onClick={() => { store.go({ tab: id }); store.set({ sheet: true }); }}>
            {label}{id === "alerts" && open > 0 ? <span class="badge">{open}<span class="hidden"> open</span></span> : null}
          </button>
        ))}
      </div>
      <div role="tabpanel" id="panel" aria-labelledby={`tab-${tab}`} tabIndex={-1}>
        {tab === "alerts" && <><h2 tabIndex={-1} class="hidden">Alerts</h2><AlertInbox /></>}
        {tab === "object" && <ObjectPanel />}
        {tab === "compare" && <ComparePanel />}
        {tab === "watch" && <WatchPanel />}
        {tab === "tools" && <Tools />}
        {tab === "new" && <NewWatch />}
      </div>
    </>
  );
}

function FirstSteps() {
  return (
    <section id="panel" aria-label="First steps">
      <h2>No watch has found a scene yet</h2>
      <ol>
        <li>Write a watch file, or take one from the folder <code>examples</code>; or make a watch below.</li>
        <li><code>segwatch apply FILE</code> saves it and shows what it would find.</li>
        <li><code>segwatch run WATCH</code> searches the catalog and segments the scenes.</li>
      </ol>
      <button type="button" onClick={() => void loadWatches()}>Look again</button>
      <NewWatch />
    </section>
  );
}

function tryAgain(): void {
  store.set({ problem: "" });
  getStage()?.refresh();
}

/** What is loading, what failed, and how many objects are drawn as dots. */
function Notices() {
  const { busy, problem, counts } = useStore();
  const dots = counts.objects - counts.outlined;
  return (
    <div class="notices">
      <p role="status" class="loading" data-busy={busy}>{busy ? "Loading the map …" : ""}</p>
      <p id="drawn" role="status">{dots > 0 ? `${counts.outlined} of ${counts.objects} objects in view are drawn as polygons; the smaller ones are dots: zoom in.` : ""}</p>
      {problem && <p role="alert" class="problem">{problem} <button type="button" class="link" onClick={tryAgain}>Try again</button> <button type="button" class="link" onClick={() => store.set({ problem: "" })}>Dismiss</button></p>}
    </div>
  );
}

function Sources() {
  const state = useStore();
  const scene = (ready(state.scenes) ?? [])[sceneIndex(state)];
  return <footer id="attribution">{[scene?.attribution, state.background?.attribution].filter(Boolean).map((one) => `${one}. `)}Base map: Natural Earth; places: GeoNames (CC BY 4.0). <a href="/static/page/LICENSES.txt">Licences</a></footer>;
}
