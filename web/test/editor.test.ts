import { describe, expect, it } from "vitest";
import { History } from "../src/editor/history";
import { fitted, onImage, panned, zoomed } from "../src/editor/view";
import { boxBetween, grownBox, movedBox } from "../src/shared/boxes";

const image = { width: 400, height: 300 };
const stage = { width: 832, height: 632 };

describe("boxes", () => {
  it("are cut to the image, from whichever corner they are drawn", () => {
    const box = { x0: 0, y0: 10, x1: 400, y1: 300, label: "face" };
    expect(boxBetween({ x: 500, y: 10 }, { x: -5, y: 999 }, image, "face")).toEqual(box);
    expect(boxBetween({ x: -5, y: 999 }, { x: 500, y: 10 }, image, "face")).toEqual(box);
  });
  it("have an area", () => {
    expect(boxBetween({ x: 10, y: 10 }, { x: 10.5, y: 90 }, image, "face")).toBeNull();
    expect(boxBetween({ x: 410, y: 10 }, { x: 420, y: 90 }, image, "face")).toBeNull();
  });
  it("keep their size at the edge when they are moved", () => {
    const box = { x0: 10, y0: 20, x1: 60, y1: 90, label: "nsfw" } as const;
    expect(movedBox(box, -99, 999, image)).toEqual({ x0: 0, y0: 230, x1: 50, y1: 300, label: "nsfw" });
    expect(grownBox(box, -999, 0, image)).toEqual(box);
    expect(grownBox(box, 5, 999, image)).toEqual({ ...box, x1: 65, y1: 300 });
  });
});

describe("view", () => {
  const whole = fitted(stage, image);
  it("shows the whole image in the middle", () => {
    expect(whole).toEqual({ scale: 2, x: 16, y: 16 });
  });
  it("keeps the point under the pointer when it zooms", () => {
    const at = { x: 300, y: 200 };
    const near = zoomed(whole, 3, at, stage, image);
    const [before, after] = [onImage(whole, at), onImage(near, at)];
    expect(near.scale).toBe(6);
    expect(after.x).toBeCloseTo(before.x);
    expect(after.y).toBeCloseTo(before.y);
  });
  it("never gets smaller than whole, nor leaves the image", () => {
    expect(zoomed(whole, 0.01, { x: 1, y: 1 }, stage, image)).toEqual(whole);
    const far = panned(zoomed(whole, 4, { x: 0, y: 0 }, stage, image), 1e6, -1e6, stage, image);
    expect(far.x).toBe(16);
    expect(far.y + 300 * far.scale).toBeCloseTo(632 - 16);
  });
});

describe("history", () => {
  it("undoes and redoes, until something new is done", () => {
    const history = new History(0);
    expect([history.undo(), history.redo()]).toEqual([false, false]);
    for (const state of [1, 2, 3]) history.push(state);
    history.undo();
    history.undo();
    expect(history.now).toBe(1);
    history.redo();
    expect(history.now).toBe(2);
    history.push(9);
    expect([history.redo(), history.now, history.undo(), history.now]).toEqual([false, 9, true, 2]);
  });
});
