// Patterns for ground that was not seen, and for objects that are no longer there.
import { colourOf, GROUND, type Theme } from "../palette";
import { GONE_PATTERN, UNSEEN } from "./style";

const SIZE = 16;

/** Diagonal lines over transparent ground, `crossed` in both directions; twice as fine on dense screens. */
export function makeHatch(colour: string, crossed: boolean): ImageData {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("this browser draws no canvas");
  pen.strokeStyle = colour;
  pen.lineWidth = 1.6;
  for (const shift of [-SIZE, 0, SIZE]) {
    pen.moveTo(shift, SIZE);
    pen.lineTo(shift + SIZE, 0);
    if (crossed) {
      pen.moveTo(shift, 0);
      pen.lineTo(shift + SIZE, SIZE);
    }
  }
  pen.stroke();
  return pen.getImageData(0, 0, SIZE, SIZE);
}

/** The patterns of a theme by the name under which layers use them. */
export const makeHatches = (theme: Theme): [string, ImageData][] => [
  [UNSEEN, makeHatch(GROUND[theme].hatch, false)],
  [GONE_PATTERN, makeHatch(colourOf("disappeared"), true)],
];
