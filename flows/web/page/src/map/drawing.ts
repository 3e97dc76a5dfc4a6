// Draw a polygon on the map, with terra-draw, which is loaded when it is first needed.
import type { Map as MapLibreMap } from "maplibre-gl";

export interface Pen {
  /** What was drawn; null before the polygon is closed. */
  read: () => GeoJSON.Polygon | null;
  clear: () => void;
  /** Remove the pen and what it drew from the map. */
  stop: () => void;
}

/** Start drawing one polygon; `changed` is called when it is closed, and whenever it is moved afterwards. */
export async function startPen(map: MapLibreMap, colour: `#${string}`, changed: () => void): Promise<Pen> {
  const [{ TerraDraw, TerraDrawPolygonMode, TerraDrawSelectMode }, { TerraDrawMapLibreGLAdapter }] = await Promise.all([
    import("terra-draw"), import("terra-draw-maplibre-gl-adapter"),
  ]);
  const styles = { fillColor: colour, fillOpacity: 0.2, outlineColor: colour, outlineWidth: 3, closingPointWidth: 8 } as const;
  const editable = { draggable: true, coordinates: { draggable: true, deletable: true, midpoints: true } };
  const draw = new TerraDraw({
    adapter: new TerraDrawMapLibreGLAdapter({ map }),
    modes: [new TerraDrawPolygonMode({ styles }), new TerraDrawSelectMode({ flags: { polygon: { feature: editable } } })],
  });
  draw.start();
  draw.setMode("polygon");
  draw.on("finish", (id) => {
    // one polygon is enough: from now on its corners can be moved
    draw.setMode("select");
    draw.selectFeature(id);
    changed();
  });
  return {
    read: () => (draw.getMode() === "select" ? findPolygon(draw.getSnapshot()) : null),
    clear: () => {
      draw.clear();
      draw.setMode("polygon");
      changed();
    },
    stop: () => draw.stop(),
  };
}

function findPolygon(features: { geometry: { type: string } }[]): GeoJSON.Polygon | null {
  const found = features.find((one) => one.geometry.type === "Polygon");
  return found ? (found.geometry as GeoJSON.Polygon) : null;
}
