/** The editor with its tools, the list of its boxes, and its keys: the same for workers and reviewers. */

import { describeBox, type Label, labelName, placeOf } from "../shared/boxes";
import { element } from "../shared/dom";
import { type IconName, icon } from "../shared/icons";
import { Editor } from "./editor";

const NUDGE_PX = 3;
const LEAST_BRIGHTNESS = 0.5;
const MOST_BRIGHTNESS = 3;
const BRIGHTNESS_STEP = 0.25;

/** Keys of the tools, as the help shows them. */
export const EDITOR_KEYS: readonly (readonly [string, string])[] = [
  ["1 · 2", "Label the box: face · NSFW"],
  ["N", "New box in the middle"],
  ["↑ · ↓", "Select the box before · after"],
  ["Shift + arrows", "Move the box"],
  ["Alt + Shift + arrows", "Resize the box"],
  ["Delete", "Delete the box"],
  ["Escape", "Cancel, or select nothing"],
  ["Ctrl + Z · Ctrl + Y", "Undo · redo"],
  ["+ · − · 0", "Zoom in · out · whole image"],
  ["Space + drag", "Move the image; the wheel zooms"],
  ["[ · ]", "Darker · brighter"],
  ["H", "Hide or show the boxes"],
];

export interface Workbench {
  readonly editor: Editor;
  /** The stage with the picture. */
  readonly stage: HTMLElement;
  /** Undo, zoom and the like. */
  readonly tools: HTMLElement;
  /** Labels and the list of boxes. */
  readonly side: HTMLElement;
  /** Take a key; whether it was one of the editor's. */
  handleKey(event: KeyboardEvent): boolean;
  /** Tell people who listen. */
  say(text: string): void;
  /** What the stage shows, for people who listen. */
  describe(text: string): void;
}

/** `onchange` is called whenever the boxes may have changed. */
export function createWorkbench(onchange: () => void): Workbench {
  const surface = element("div", { class: "surface", tabindex: 0, role: "application", "aria-label": "Image" });
  const spoken = element("p", { class: "visually-hidden", role: "status" });
  const stage = element("div", { class: "stage" }, surface, spoken);
  const editor = new Editor(surface, { onchange: () => update() });

  const undo = tool("undo", "Undo", "Ctrl+Z", () => editor.undo());
  const redo = tool("redo", "Redo", "Ctrl+Y", () => editor.redo());
  const add = tool("box", "New box", "N", () => editor.addBox());
  const remove = tool("trash", "Delete box", "Delete", () => editor.removeSelected());
  const hide = tool("eye", "Hide boxes", "H", () => toggleBoxes());
  const light = element("input", {
    type: "range",
    min: LEAST_BRIGHTNESS,
    max: MOST_BRIGHTNESS,
    step: BRIGHTNESS_STEP,
    value: 1,
    "aria-label": "Brightness",
    title: "Brightness ([ and ])",
    oninput: () => setLight(Number(light.value)),
  });
  const tools = element(
    "div",
    { class: "tools", role: "toolbar", "aria-label": "Tools" },
    element("div", { class: "tool-group" }, undo, redo),
    element("div", { class: "tool-group" }, add, remove),
    element(
      "div",
      { class: "tool-group" },
      tool("minus", "Zoom out", "−", () => editor.zoomBy(1 / 1.4)),
      tool("fit", "Whole image", "0", () => editor.fit()),
      tool("plus", "Zoom in", "+", () => editor.zoomBy(1.4)),
    ),
    element("div", { class: "tool-group" }, hide, element("label", { class: "light" }, icon("sun"), light)),
  );

  const labels = (["face", "nsfw"] as const).map((label, index) => {
    const button = element(
      "button",
      { type: "button", class: `button label-${label}`, onclick: () => relabel(label) },
      element("span", { class: "swatch" }),
      labelName(label),
      element("kbd", {}, String(index + 1)),
    );
    return [label, button] as const;
  });
  const count = element("h2", {});
  const list = element("ol", { class: "box-list" });
  const empty = element("p", { class: "hint" }, "No boxes. Drag over a face to draw one.");
  const side = element(
    "aside",
    { class: "side", "aria-label": "Boxes" },
    element("div", { class: "labels", role: "group", "aria-label": "Label" }, ...labels.map(([, button]) => button)),
    element("div", { class: "boxes" }, count, empty, list),
  );

  function update(): void {
    undo.disabled = !editor.canUndo;
    redo.disabled = !editor.canRedo;
    remove.disabled = editor.selected === null;
    hide.replaceChildren(icon(editor.boxesShown ? "eye" : "eyeOff"));
    hide.setAttribute("aria-pressed", String(!editor.boxesShown));
    const current = editor.selected === null ? editor.label : (editor.boxes[editor.selected]?.label ?? "face");
    for (const [label, button] of labels) button.setAttribute("aria-pressed", String(label === current));
    count.textContent = editor.boxes.length === 1 ? "1 box" : `${editor.boxes.length} boxes`;
    empty.hidden = editor.boxes.length > 0;
    updateList();
    onchange();
  }

  function updateList(): void {
    while (list.children.length > editor.boxes.length) list.lastElementChild?.remove();
    editor.boxes.forEach((box, index) => {
      let item = list.children[index];
      if (!item) {
        item = element(
          "li",
          {},
          element("button", { type: "button", class: "box-item", onclick: () => editor.select(index) }),
        );
        list.append(item);
      }
      const button = item.firstElementChild as HTMLButtonElement;
      const size = `${Math.round(box.x1 - box.x0)} × ${Math.round(box.y1 - box.y0)}`;
      button.className = `box-item label-${box.label}`;
      button.setAttribute("aria-pressed", String(index === editor.selected));
      button.replaceChildren(
        element("span", { class: "swatch" }),
        element("span", {}, `${labelName(box.label)} ${index + 1}`),
        element("span", { class: "box-size" }, size),
        element("span", { class: "visually-hidden" }, `pixels, ${placeOf(box)}`),
      );
      if (index === editor.selected) item.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }

  function relabel(label: Label): void {
    editor.relabel(label);
    say(editor.selected === null ? `New boxes: ${labelName(label)}` : `Labelled ${labelName(label)}`);
  }

  function toggleBoxes(): void {
    editor.boxesShown = !editor.boxesShown;
    say(editor.boxesShown ? "Boxes shown" : "Boxes hidden");
  }

  function setLight(value: number): void {
    const factor = Math.min(Math.max(value, LEAST_BRIGHTNESS), MOST_BRIGHTNESS);
    light.value = String(factor);
    editor.brightness = factor;
  }

  function say(text: string): void {
    spoken.textContent = text;
  }

  function saySelected(): void {
    const box = editor.selected === null ? undefined : editor.boxes[editor.selected];
    if (box) say(`Box ${(editor.selected ?? 0) + 1} of ${editor.boxes.length}: ${describeBox(box)}`);
  }

  const plain: Record<string, () => void> = {
    "1": () => relabel("face"),
    "2": () => relabel("nsfw"),
    n: () => {
      editor.addBox();
      saySelected();
    },
    Delete: () => {
      editor.removeSelected();
      say(`${editor.boxes.length} boxes`);
    },
    ArrowUp: () => {
      editor.selectNext(-1);
      saySelected();
    },
    ArrowDown: () => {
      editor.selectNext(1);
      saySelected();
    },
    Escape: () => editor.cancel(),
    "+": () => editor.zoomBy(1.4),
    "=": () => editor.zoomBy(1.4),
    "-": () => editor.zoomBy(1 / 1.4),
    "0": () => editor.fit(),
    "[": () => setLight(Number(light.value) - BRIGHTNESS_STEP),
    "]": () => setLight(Number(light.value) + BRIGHTNESS_STEP),
    h: toggleBoxes,
    " ": () => {
      editor.panning = true;
    },
  };
  plain.Backspace = plain.Delete as () => void;
  const arrows: Record<string, readonly [number, number]> = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  };

  function handleKey(event: KeyboardEvent): boolean {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" && !event.shiftKey) editor.undo();
      else if (key === "y" || key === "z") editor.redo();
      else return false;
      return true;
    }
    const arrow = arrows[key];
    if (arrow && event.shiftKey) {
      const [dx, dy] = [arrow[0] * NUDGE_PX, arrow[1] * NUDGE_PX];
      if (event.altKey) editor.growSelected(dx, dy);
      else editor.moveSelected(dx, dy);
      saySelected();
      return true;
    }
    if (event.altKey) return false;
    if (key === " " && event.target instanceof HTMLButtonElement) return false; // Space presses a button
    const action = plain[key];
    action?.();
    return action !== undefined;
  }

  addEventListener("keyup", ({ key }) => {
    if (key === " ") editor.panning = false;
  });
  addEventListener("blur", () => {
    editor.panning = false;
  });
  update();
  return { editor, stage, tools, side, handleKey, say, describe: (text) => surface.setAttribute("aria-label", text) };
}

/** A button with an icon, a name and a key. */
export function tool(name: IconName, label: string, key: string, onclick: () => void): HTMLButtonElement {
  return element(
    "button",
    {
      type: "button",
      class: "button button-icon button-quiet",
      "aria-label": label,
      title: `${label} (${key})`,
      onclick,
    },
    icon(name),
  );
}
