// What the colours, lines and patterns of the map mean.
import { COMPARED, KINDS } from "../palette";
import { store, useStore } from "../store";

export function Legend({ open }: { open: boolean }) {
  const { address } = useStore();
  return (
    <details class="legend" open={open}>
      <summary>Legend</summary>
      <ul id="legend" aria-label="Legend">
        {(address.mode === "changes" ? COMPARED : KINDS).map((one) => (
          <li key={one.label}><i class={one.gone ? "gone" : ""} style={one.gone ? { borderColor: one.colour } : { background: one.colour }} />{one.label}</li>
        ))}
        {address.mode !== "changes" && <><li><i class="confirmed" />confirmed</li><li><i class="provisional" />provisional</li></>}
        <li><i class="unseen" />{address.mode === "changes" ? "ground not seen on a date" : "not seen on this date"}</li>
      </ul>
      <label><input id="imagery" type="checkbox" checked={address.imagery} onChange={(event) => store.go({ imagery: event.currentTarget.checked })} /> imagery of the scene</label>
    </details>
  );
}
