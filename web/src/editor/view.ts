/** Where the image lies on the stage: `stage = image * scale + (x, y)`. */

import type { Size } from "../shared/boxes";

export interface View {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

const MARGIN_PX = 16;
const MOST_SCALE = 32;

/** The whole image, as large as it goes, in the middle. */
export function fitted(stage: Size, image: Size): View {
  const room = { width: stage.width - 2 * MARGIN_PX, height: stage.height - 2 * MARGIN_PX };
  const scale = Math.max(Math.min(room.width / image.width, room.height / image.height, MOST_SCALE), 1e-3);
  return {
    scale,
    x: (stage.width - image.width * scale) / 2,
    y: (stage.height - image.height * scale) / 2,
  };
}

/** Zoomed by a factor about a point of the stage, never smaller than fitted. */
export function zoomed(view: View, factor: number, about: Point, stage: Size, image: Size): View {
  const least = fitted(stage, image).scale;
  const scale = Math.min(Math.max(view.scale * factor, least), Math.max(MOST_SCALE, least));
  const ratio = scale / view.scale;
  const moved = { scale, x: about.x - (about.x - view.x) * ratio, y: about.y - (about.y - view.y) * ratio };
  return held(moved, stage, image);
}

/** Moved by some pixels of the stage. */
export function panned(view: View, dx: number, dy: number, stage: Size, image: Size): View {
  return held({ ...view, x: view.x + dx, y: view.y + dy }, stage, image);
}

/** The point of the image under a point of the stage. */
export function onImage(view: View, point: Point): Point {
  return { x: (point.x - view.x) / view.scale, y: (point.y - view.y) / view.scale };
}

/** Kept in sight: an image that is smaller than the stage stays in the middle, a larger one leaves no gap. */
function held(view: View, stage: Size, image: Size): View {
  return {
    scale: view.scale,
    x: heldSide(view.x, stage.width, image.width * view.scale),
    y: heldSide(view.y, stage.height, image.height * view.scale),
  };
}

function heldSide(at: number, stage: number, image: number): number {
  const room = stage - 2 * MARGIN_PX;
  if (image <= room) return (stage - image) / 2;
  return Math.min(Math.max(at, stage - MARGIN_PX - image), MARGIN_PX);
}
