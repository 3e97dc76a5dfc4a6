// A pen on the map for the panel that uses it.
import { useEffect, useRef, useState } from "preact/hooks";
import { getStage } from "../choosing";
import type { Pen } from "../map/drawing";
import { store } from "../store";

/** A pen on the map; it goes away with the panel. */
export function usePen() {
  const [pen, setPen] = useState<Pen | null>(null);
  const [drawn, setDrawn] = useState(false);
  const held = useRef<Pen | null>(null);
  const stop = () => {
    held.current?.stop();
    held.current = null;
    setPen(null);
    setDrawn(false);
    store.set({ asking: "object" });
  };
  const start = async () => {
    const stage = getStage();
    if (!stage) return;
    const { startPen } = await import("../map/drawing");
    const made = await startPen(stage.main.map, "#d55e00", () => setDrawn(held.current?.read() != null));
    held.current = made;
    setPen(made);
    store.set({ asking: "nothing", sheet: false });
  };
  useEffect(() => () => {
    if (!held.current) return;
    held.current.stop();
    store.set({ asking: "object" });
  }, []);
  return { pen, drawn, start, stop };
}
