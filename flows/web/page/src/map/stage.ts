// The maps of the page: one, or two of the same place for a comparison, the later date above the earlier one.
import * as maplibregl from "maplibre-gl";
import { viewOf } from "./camera";
import { type Drawing, Pane } from "./pane";
import type { Mode, View } from "../address";
import type { Theme } from "../palette";
import type { Background } from "../types";
import { type Box, day } from "../words";

const BLINK_MS = 900;

export interface Drawings {
  mode: Mode;
  now: Drawing;
  /** Earlier date of a comparison. */
  before: Drawing | null;
}

/** The view in which a box fills a map; what is shown with its surroundings has a largest zoom. */
export function fitIn({ clientWidth, clientHeight }: HTMLElement, box: Box, maxZoom?: number): View {
  return viewOf(box, clientWidth, clientHeight, Math.min(clientWidth, clientHeight) * (maxZoom ? 0.25 : 0.06), maxZoom);
}

export class Stage {
  readonly main: Pane;
  private before: Pane | null = null;
  private background: Background | null = null;
  private blinking = 0;
  private syncing = false;

  constructor(private readonly front: HTMLElement, private readonly back: HTMLElement, theme: Theme) {
    this.main = new Pane(front, theme);
    const map = this.main.map;
    map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-left");
    map.addControl(new maplibregl.ScaleControl({ maxWidth: 120 }), "bottom-left");
    map.on("move", () => this.follow(map, this.before?.map));
  }

  draw({ mode, now, before }: Drawings): void {
    this.main.draw(now);
    const comparing = (mode === "swipe" || mode === "blink") && before !== null;
    this.front.dataset.date = comparing ? day(now.scene.acquired_at) : "";
    this.back.dataset.date = comparing ? day(before.scene.acquired_at) : "";
    this.back.hidden = !comparing;
    if (!comparing) {
      this.endComparison();
      return;
    }
    const earlier = this.openBefore(before.theme);
    earlier.showBackground(this.background);
    earlier.draw(before);
    this.blink(mode === "blink");
    if (mode === "blink") this.front.style.clipPath = "";
  }

  /** Show the ground of another host on both maps. */
  showBackground(background: Background | null): void {
    this.background = background;
    this.main.showBackground(background);
    this.before?.showBackground(background);
  }

  /** Show the later date right of a share of the width. */
  swipe(share: number): void {
    this.front.style.clipPath = `inset(0 0 0 ${(share * 100).toFixed(2)}%)`;
  }

  refresh(): void {
    this.main.refresh();
    this.before?.refresh();
  }

  view(): View {
    const { lng, lat } = this.main.map.getCenter();
    return { zoom: this.main.map.getZoom(), lat, lon: lng };
  }

  show(view: View): void {
    this.main.map.jumpTo({ center: [view.lon, view.lat], zoom: view.zoom });
  }

  fit(box: Box, maxZoom?: number): void {
    this.show(fitIn(this.front, box, maxZoom));
  }

  private openBefore(theme: Theme): Pane {
    if (this.before) return this.before;
    const pane = new Pane(this.back, theme);
    this.before = pane;
    pane.map.jumpTo({ center: this.main.map.getCenter(), zoom: this.main.map.getZoom() });
    // the scale of the later map is cut off at the border
    pane.map.addControl(new maplibregl.ScaleControl({ maxWidth: 120 }), "bottom-left");
    pane.map.on("move", () => this.follow(pane.map, this.main.map));
    return pane;
  }

  private endComparison(): void {
    this.blink(false);
    this.front.style.clipPath = "";
    this.before?.map.remove();
    this.before = null;
  }

  private blink(on: boolean): void {
    if (on && !this.blinking) {
      this.blinking = window.setInterval(() => this.front.classList.toggle("behind"), BLINK_MS);
    } else if (!on && this.blinking) {
      window.clearInterval(this.blinking);
      this.blinking = 0;
      this.front.classList.remove("behind");
    }
  }

  private follow(leader: maplibregl.Map, follower: maplibregl.Map | undefined): void {
    if (this.syncing || !follower) return;
    this.syncing = true;
    follower.jumpTo({ center: leader.getCenter(), zoom: leader.getZoom() });
    this.syncing = false;
  }
}
