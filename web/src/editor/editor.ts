/** Boxes over an image, drawn and changed by mouse, pen, fingers or keyboard. */

import Konva from "konva/lib/Core";
import { Image as KonvaImage } from "konva/lib/shapes/Image";
import { Transformer } from "konva/lib/shapes/Transformer";
import { type Box, type Boxes, boxBetween, grownBox, type Label, MIN_SIDE, movedBox, type Size } from "../shared/boxes";
import { History } from "./history";
import { fitted, onImage, type Point, panned, type View, zoomed } from "./view";

/** Boxes that are shown beside those that can be changed. */
export interface Overlay {
  readonly boxes: Boxes;
  readonly color: string;
  readonly dashed: boolean;
}

export interface Scene {
  readonly size: Size;
  readonly boxes: Boxes;
  readonly overlays: readonly Overlay[];
  readonly editable: boolean;
}

export interface EditorEvents {
  /** The boxes, which of them is selected, or what can be undone has changed. */
  onchange(): void;
}

/** Seen on any picture: bright lines with a dark rim. */
export const COLORS = { face: "#ffd60a", nsfw: "#ff6ad5", selected: "#ffffff", truth: "#3ddc84" };

const LINE_PX = 2;
const LEAST_DRAG_PX = 4;
const NEW_BOX_SHARE = 0.2;
const coarse = matchMedia("(pointer: coarse)");

export class Editor {
  /** Label of the next box. */
  label: Label = "face";

  #stage: Konva.Stage;
  #imageLayer = new Konva.Layer({ listening: false });
  #boxLayer = new Konva.Layer();
  #image = new KonvaImage({ image: undefined });
  #transformer = new Transformer({
    rotateEnabled: false,
    flipEnabled: false,
    keepRatio: false,
    ignoreStroke: true,
    borderStroke: COLORS.selected,
    anchorStroke: "#101418",
    anchorFill: COLORS.selected,
    anchorCornerRadius: 2,
  });
  #history = new History<Boxes>([]);
  #scene: Scene = { size: { width: 1, height: 1 }, boxes: [], overlays: [], editable: false };
  #view: View = { scale: 1, x: 0, y: 0 };
  #isFitted = true;
  #selected: number | null = null;
  #gesture: Gesture | null = null;
  #panning = false;

  constructor(
    private readonly container: HTMLDivElement,
    private readonly events: EditorEvents,
  ) {
    Konva.hitOnDragEnabled = true; // a second finger ends a drag
    this.#stage = new Konva.Stage({ container, width: 1, height: 1 });
    this.#imageLayer.add(this.#image);
    this.#stage.add(this.#imageLayer, this.#boxLayer);
    this.#transformer.boundBoxFunc((before, after) => this.#bounded(before, after));
    this.#listen();
    new ResizeObserver(() => this.#resize()).observe(container);
    this.#resize();
  }

  /** Show an image's boxes; the picture itself comes with `setPicture`. */
  show(scene: Scene): void {
    this.#scene = scene;
    this.#history = new History(scene.boxes);
    this.#gesture = null;
    this.#selected = null;
    this.#image.size(scene.size);
    this.fit();
    this.#render();
  }

  /** Show these beside the boxes, and let the boxes be changed or not. */
  setOverlays(overlays: readonly Overlay[], editable: boolean): void {
    this.#scene = { ...this.#scene, overlays, editable };
    if (!editable) this.#selected = null;
    this.#render();
  }

  /** The picture; undefined while it is not there yet. */
  setPicture(picture: ImageBitmap | undefined): void {
    this.#image.image(picture);
  }

  get boxes(): Boxes {
    return this.#history.now;
  }

  get selected(): number | null {
    return this.#selected;
  }

  get canUndo(): boolean {
    return this.#scene.editable && this.#history.canUndo;
  }

  get canRedo(): boolean {
    return this.#scene.editable && this.#history.canRedo;
  }

  get boxesShown(): boolean {
    return this.#boxLayer.visible();
  }

  set boxesShown(shown: boolean) {
    this.#boxLayer.visible(shown);
    this.events.onchange();
  }

  /** 1 is as it is. */
  set brightness(factor: number) {
    this.#imageLayer.getNativeCanvasElement().style.filter = factor === 1 ? "" : `brightness(${factor})`;
  }

  select(index: number | null): void {
    if (!this.#scene.editable) return;
    this.#selected = index !== null && index < this.boxes.length ? index : null;
    this.#render();
  }

  /** Select the next box, or the one before. */
  selectNext(step: 1 | -1): void {
    const count = this.boxes.length;
    if (!count) return;
    const from = this.#selected ?? (step === 1 ? -1 : count);
    this.select((from + step + count) % count);
  }

  /** A new box in the middle of what is in sight. */
  addBox(): void {
    const { width, height } = this.#stage.size();
    const side = Math.min(width, height) * NEW_BOX_SHARE;
    const corner = { x: (width - side) / 2, y: (height - side) / 2 };
    const opposite = { x: corner.x + side, y: corner.y + side };
    this.#add(boxBetween(onImage(this.#view, corner), onImage(this.#view, opposite), this.#scene.size, this.label));
  }

  /** Draw these instead. */
  replaceBoxes(boxes: Boxes): void {
    if (!this.#scene.editable) return;
    this.#selected = null;
    this.#commit(boxes);
  }

  removeSelected(): void {
    const gone = this.#selected;
    if (gone === null || !this.#scene.editable) return;
    this.#selected = null;
    this.#commit(this.boxes.filter((_, index) => index !== gone));
  }

  /** Label of the selected box and of the next ones. */
  relabel(label: Label): void {
    this.label = label;
    this.#changeSelected((box) => ({ ...box, label }));
    this.events.onchange();
  }

  /** Move the selected box by some pixels of the screen. */
  moveSelected(dx: number, dy: number): void {
    const scale = this.#view.scale;
    this.#changeSelected((box) => movedBox(box, dx / scale, dy / scale, this.#scene.size));
  }

  /** Move the lower right corner of the selected box by some pixels of the screen. */
  growSelected(dx: number, dy: number): void {
    const scale = this.#view.scale;
    this.#changeSelected((box) => grownBox(box, dx / scale, dy / scale, this.#scene.size));
  }

  undo(): void {
    if (this.#scene.editable && this.#history.undo()) this.#afterTravel();
  }

  redo(): void {
    if (this.#scene.editable && this.#history.redo()) this.#afterTravel();
  }

  /** Zoom about the middle. */
  zoomBy(factor: number): void {
    const { width, height } = this.#stage.size();
    this.#zoom(factor, { x: width / 2, y: height / 2 });
  }

  /** The whole image. */
  fit(): void {
    this.#isFitted = true;
    this.#setView(fitted(this.#stage.size(), this.#scene.size));
  }

  /** While on, dragging moves the image. */
  set panning(on: boolean) {
    this.#panning = on;
    this.container.classList.toggle("panning", on);
    this.#boxLayer.listening(!on);
  }

  /** End what is being drawn; else select nothing. Returns whether there was anything to end. */
  cancel(): boolean {
    if (this.#gesture?.kind === "draw") {
      this.#gesture = null;
      this.#render();
      return true;
    }
    const had = this.#selected !== null;
    this.select(null);
    return had;
  }

  #add(box: Box | null): void {
    if (box === null || !this.#scene.editable) return;
    this.#selected = this.boxes.length;
    this.#commit([...this.boxes, box]);
  }

  #changeSelected(change: (box: Box) => Box): void {
    const index = this.#selected;
    if (index === null || !this.#scene.editable) return;
    this.#commit(this.boxes.map((box, i) => (i === index ? change(box) : box)));
  }

  #commit(boxes: Boxes): void {
    this.#history.push(boxes);
    this.#render();
  }

  #afterTravel(): void {
    if (this.#selected !== null && this.#selected >= this.boxes.length) this.#selected = null;
    this.#render();
  }

  #render(): void {
    this.#transformer.remove();
    this.#boxLayer.destroyChildren();
    const { editable, overlays } = this.#scene;
    this.boxes.forEach((box, index) => {
      const color = index === this.#selected ? COLORS.selected : COLORS[box.label];
      const shape = boxShape(box, color, box.label === "nsfw", () => this.#view.scale);
      shape.listening(editable);
      shape.draggable(editable);
      this.#boxLayer.add(shape);
      if (editable) this.#listenToBox(shape, index);
    });
    for (const overlay of overlays) {
      for (const box of overlay.boxes) {
        const shape = boxShape(box, overlay.color, overlay.dashed, () => this.#view.scale);
        shape.listening(false);
        this.#boxLayer.add(shape);
      }
    }
    const chosen = this.#selected === null ? undefined : this.#boxLayer.getChildren()[this.#selected];
    this.#transformer.nodes(chosen ? [chosen] : []);
    this.#transformer.anchorSize(coarse.matches ? 18 : 10);
    this.#boxLayer.add(this.#transformer);
    this.events.onchange();
  }

  #listenToBox(shape: Konva.Shape, index: number): void {
    const hold = () => this.#keepInside(shape);
    const store = () => {
      const label = this.boxes[index]?.label ?? this.label;
      const corner = { x: shape.x() + shape.width(), y: shape.y() + shape.height() };
      const box = boxBetween(shape.position(), corner, this.#scene.size, label);
      if (box === null) this.#render();
      else this.#commit(this.boxes.map((before, i) => (i === index ? box : before)));
    };
    shape.on("dragstart", () => this.#select(index));
    shape.on("dragmove", hold);
    shape.on("dragend", store);
    shape.on("transform", () => {
      // the handles scale the shape: its size takes the scale over, so that what is seen is what is stored
      shape.size({ width: shape.width() * shape.scaleX(), height: shape.height() * shape.scaleY() });
      shape.scale({ x: 1, y: 1 });
    });
    shape.on("transformend", store);
    shape.on("click tap", () => this.select(index));
    shape.on("mouseenter", () => this.#cursor("move"));
    shape.on("mouseleave", () => this.#cursor(""));
  }

  /** Select without building the shapes anew, while one of them is being dragged. */
  #select(index: number): void {
    this.#selected = index;
    const shape = this.#boxLayer.getChildren()[index];
    if (shape) this.#transformer.nodes([shape]);
    this.events.onchange();
  }

  #keepInside(shape: Konva.Shape): void {
    const { width, height } = this.#scene.size;
    shape.x(Math.min(Math.max(shape.x(), 0), width - shape.width()));
    shape.y(Math.min(Math.max(shape.y(), 0), height - shape.height()));
  }

  /** What the handles make of a box, cut to the image; as before where nothing would be left. Pixels of the stage. */
  #bounded(before: Bounds, after: Bounds): Bounds {
    const { x, y, scale } = this.#view;
    const left = Math.max(after.x, x);
    const top = Math.max(after.y, y);
    const width = Math.min(after.x + after.width, x + this.#scene.size.width * scale) - left;
    const height = Math.min(after.y + after.height, y + this.#scene.size.height * scale) - top;
    if (width < MIN_SIDE * scale || height < MIN_SIDE * scale) return before;
    return { x: left, y: top, width, height, rotation: 0 };
  }

  #cursor(name: string): void {
    this.#stage.content.style.cursor = name;
  }

  #listen(): void {
    const stage = this.#stage;
    stage.on("wheel", ({ evt }) => {
      evt.preventDefault();
      const at = stage.getPointerPosition();
      if (at) this.#zoom(Math.exp(-evt.deltaY * (evt.ctrlKey ? 0.01 : 0.0015)), at);
    });
    stage.on("mousedown touchstart", (event) => this.#begin(event));
    stage.on("mousemove touchmove", ({ evt }) => this.#go(evt));
    // beyond the stage too: a box is often drawn over the edge
    addEventListener("mousemove", (event) => {
      if (this.#gesture && !(event.target instanceof Node && this.container.contains(event.target))) this.#go(event);
    });
    for (const name of ["mouseup", "touchend", "touchcancel"]) {
      addEventListener(name, () => this.#end());
    }
  }

  #begin(event: Konva.KonvaEventObject<MouseEvent | TouchEvent>): void {
    const { evt, target } = event;
    const touches = touchesOf(evt, this.container);
    if (touches.length === 2) {
      for (const shape of this.#boxLayer.getChildren()) shape.stopDrag();
      this.#gesture = { kind: "pinch", touches };
      return;
    }
    const at = this.#pointer(evt);
    const button = "button" in evt ? evt.button : 0;
    if (button === 1 || this.#panning) {
      evt.preventDefault();
      for (const shape of this.#boxLayer.getChildren()) shape.stopDrag();
      this.#gesture = { kind: "pan", at };
      return;
    }
    const onNothing = target === this.#stage || !target.listening();
    const forced = "shiftKey" in evt && evt.shiftKey;
    if (button !== 0 || !this.#scene.editable || (!onNothing && !forced)) return;
    if (forced) for (const shape of this.#boxLayer.getChildren()) shape.stopDrag();
    this.container.focus({ preventScroll: true });
    const preview = boxShape({ x0: 0, y0: 0, x1: 0, y1: 0, label: this.label }, COLORS[this.label], true, () => {
      return this.#view.scale;
    });
    preview.listening(false);
    this.#boxLayer.add(preview);
    this.#gesture = { kind: "draw", from: at, preview };
  }

  #go(evt: MouseEvent | TouchEvent): void {
    const gesture = this.#gesture;
    if (gesture?.kind === "pinch") {
      this.#pinch(gesture, touchesOf(evt, this.container));
    } else if (gesture?.kind === "pan") {
      const at = this.#pointer(evt);
      this.#isFitted = false;
      this.#setView(panned(this.#view, at.x - gesture.at.x, at.y - gesture.at.y, this.#stage.size(), this.#scene.size));
      this.#gesture = { kind: "pan", at };
    } else if (gesture?.kind === "draw") {
      const box = this.#drawn(gesture, this.#pointer(evt));
      gesture.preview.visible(box !== null);
      if (box) gesture.preview.setAttrs({ x: box.x0, y: box.y0, width: box.x1 - box.x0, height: box.y1 - box.y0 });
      gesture.to = this.#pointer(evt);
    }
  }

  #end(): void {
    const gesture = this.#gesture;
    this.#gesture = null;
    if (gesture?.kind !== "draw") return;
    const box = gesture.to ? this.#drawn(gesture, gesture.to) : null;
    gesture.preview.destroy();
    if (box) this.#add(box);
    else this.select(null);
  }

  #drawn(gesture: Drawing, to: Point): Box | null {
    const far = Math.max(Math.abs(to.x - gesture.from.x), Math.abs(to.y - gesture.from.y));
    if (far < LEAST_DRAG_PX) return null;
    return boxBetween(onImage(this.#view, gesture.from), onImage(this.#view, to), this.#scene.size, this.label);
  }

  #pinch(gesture: Pinch, touches: Point[]): void {
    const [a, b] = gesture.touches;
    const [c, d] = touches;
    if (!a || !b || !c || !d) return;
    const middle = { x: (c.x + d.x) / 2, y: (c.y + d.y) / 2 };
    this.#zoom(Math.hypot(c.x - d.x, c.y - d.y) / Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1), middle);
    const [dx, dy] = [middle.x - (a.x + b.x) / 2, middle.y - (a.y + b.y) / 2];
    this.#setView(panned(this.#view, dx, dy, this.#stage.size(), this.#scene.size));
    this.#gesture = { kind: "pinch", touches };
  }

  #zoom(factor: number, about: Point): void {
    this.#isFitted = false;
    this.#setView(zoomed(this.#view, factor, about, this.#stage.size(), this.#scene.size));
  }

  #setView(view: View): void {
    this.#view = view;
    this.#stage.scale({ x: view.scale, y: view.scale });
    this.#stage.position({ x: view.x, y: view.y });
    this.#transformer.forceUpdate();
  }

  #resize(): void {
    const { clientWidth, clientHeight } = this.container;
    if (!clientWidth || !clientHeight) return;
    this.#stage.size({ width: clientWidth, height: clientHeight });
    if (this.#isFitted) this.fit();
    else this.#zoom(1, { x: clientWidth / 2, y: clientHeight / 2 });
  }

  #pointer(evt: MouseEvent | TouchEvent): Point {
    const [touch] = touchesOf(evt, this.container);
    return touch ?? { x: 0, y: 0 };
  }
}

type Bounds = { x: number; y: number; width: number; height: number; rotation: number };

interface Drawing {
  kind: "draw";
  from: Point;
  to?: Point;
  preview: Konva.Shape;
}

interface Pinch {
  kind: "pinch";
  touches: Point[];
}

type Gesture = Drawing | Pinch | { kind: "pan"; at: Point };

/** A rectangle of which only the frame is seen, as thick at any zoom, but which is hit anywhere inside. */
function boxShape(box: Box, color: string, dashed: boolean, scale: () => number): Konva.Shape {
  return new Konva.Shape({
    x: box.x0,
    y: box.y0,
    width: box.x1 - box.x0,
    height: box.y1 - box.y0,
    sceneFunc: (context, shape) => {
      const px = 1 / scale();
      context.lineJoin = "miter";
      for (const [style, width] of [
        ["rgb(0 0 0 / 65%)", 2 * LINE_PX],
        [color, LINE_PX],
      ] as const) {
        context.setLineDash(dashed ? [6 * px, 4 * px] : []);
        context.strokeStyle = style;
        context.lineWidth = width * px;
        context.strokeRect(0, 0, shape.width(), shape.height());
      }
    },
    hitFunc: (context, shape) => {
      const slack = 4 / scale();
      context.beginPath();
      context.rect(-slack, -slack, shape.width() + 2 * slack, shape.height() + 2 * slack);
      context.closePath();
      context.fillStrokeShape(shape);
    },
    fill: "black", // seen by the hit canvas alone
    strokeEnabled: false,
  });
}

function touchesOf(evt: MouseEvent | TouchEvent, container: HTMLElement): Point[] {
  const { left, top } = container.getBoundingClientRect();
  const all = "touches" in evt ? Array.from(evt.touches) : [evt];
  return all.map(({ clientX, clientY }) => ({ x: clientX - left, y: clientY - top }));
}
