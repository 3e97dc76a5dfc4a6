// Pictures of the place of the chosen object, one for each scene, newest first.
import { useState } from "preact/hooks";
import { address } from "../api";
import { ready, store, useStore } from "../store";
import { addressTime } from "../times";
import type { Scene } from "../types";
import { day } from "../words";

const MAX_CHIPS = 12;
const MARGIN = 3;
const MIN_WIDTH_M = 200;
const MAX_WIDTH_M = 50_000;

export interface Place {
  lon: number;
  lat: number;
  area_m2: number;
}

export function Chips({ place }: { place: Place }) {
  const { scenes } = useStore();
  const shown = [...(ready(scenes) ?? [])].reverse();
  const [all, showAll] = useState(false);
  const width = Math.min(MAX_WIDTH_M, Math.max(MIN_WIDTH_M, MARGIN * Math.sqrt(place.area_m2)));
  return (
    <>
      <h3>The place on each scene</h3>
      <ul class="chips">
        {shown.slice(0, all ? undefined : MAX_CHIPS).map((scene) => <Chip key={scene.scene_id} scene={scene} place={place} width={width} />)}
      </ul>
      {shown.length > MAX_CHIPS && !all && <button type="button" onClick={() => showAll(true)}>Show all {shown.length}</button>}
    </>
  );
}

function Chip({ scene, place, width }: { scene: Scene; place: Place; width: number }) {
  const [failed, fail] = useState(false);
  const { watch } = store.state.address;
  const source = address(`/imagery/chips/${scene.scene_id}.png`, { watch, lon: String(place.lon), lat: String(place.lat), width_m: String(Math.round(width)) });
  return (
    <li>
      <button type="button" aria-current={store.state.address.at === addressTime(scene.acquired_at)} onClick={() => store.go({ at: addressTime(scene.acquired_at) })}>
        {failed ? <span class="blank">not available</span> : <img src={source} alt={`The place on ${day(scene.acquired_at)}`} loading="lazy" width="96" height="96" onError={() => fail(true)} />}
        {day(scene.acquired_at)}
      </button>
    </li>
  );
}
