/** Boxes in pixels of the upright image, half-open, as the server takes and gives them. */

export type Label = "face" | "nsfw";

export interface Box {
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
  readonly label: Label;
}

export type Boxes = readonly Box[];

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Sides that are shorter, in pixels, are no box. */
export const MIN_SIDE = 1;

/** The box between two corners, cut to the image; null where less than a pixel is left. */
export function boxBetween(
  a: { x: number; y: number },
  b: { x: number; y: number },
  size: Size,
  label: Label,
): Box | null {
  const cut = (value: number, most: number) => Math.round(Math.min(Math.max(value, 0), most) * 100) / 100;
  const x0 = cut(Math.min(a.x, b.x), size.width);
  const x1 = cut(Math.max(a.x, b.x), size.width);
  const y0 = cut(Math.min(a.y, b.y), size.height);
  const y1 = cut(Math.max(a.y, b.y), size.height);
  return x1 - x0 < MIN_SIDE || y1 - y0 < MIN_SIDE ? null : { x0, y0, x1, y1, label };
}

/** A box moved by some pixels, as far as the image reaches. */
export function movedBox(box: Box, dx: number, dy: number, size: Size): Box {
  const x = Math.min(Math.max(dx, -box.x0), size.width - box.x1);
  const y = Math.min(Math.max(dy, -box.y0), size.height - box.y1);
  const moved = boxBetween({ x: box.x0 + x, y: box.y0 + y }, { x: box.x1 + x, y: box.y1 + y }, size, box.label);
  return moved ?? box;
}

/** A box whose lower right corner is moved by some pixels; the box itself where nothing would be left of it. */
export function grownBox(box: Box, dx: number, dy: number, size: Size): Box {
  const corner = { x: Math.max(box.x1 + dx, box.x0), y: Math.max(box.y1 + dy, box.y0) };
  return boxBetween({ x: box.x0, y: box.y0 }, corner, size, box.label) ?? box;
}

/** Whether two lists hold the same boxes in the same order. */
export function sameBoxes(a: Boxes, b: Boxes): boolean {
  return a.length === b.length && a.every((box, i) => sameBox(box, b[i]));
}

function sameBox(a: Box, b: Box | undefined): boolean {
  return b !== undefined && a.x0 === b.x0 && a.y0 === b.y0 && a.x1 === b.x1 && a.y1 === b.y1 && a.label === b.label;
}

/** A box for people who listen: "face, 120 by 140 pixels, 30 from the left, 50 from the top". */
export function describeBox(box: Box): string {
  const [width, height] = [Math.round(box.x1 - box.x0), Math.round(box.y1 - box.y0)];
  return `${labelName(box.label)}, ${width} by ${height} pixels, ${placeOf(box)}`;
}

/** Where a box is: "30 from the left, 50 from the top". */
export function placeOf(box: Box): string {
  return `${Math.round(box.x0)} from the left, ${Math.round(box.y0)} from the top`;
}

/** How a label reads. */
export function labelName(label: Label): string {
  return label === "nsfw" ? "NSFW" : "Face";
}
