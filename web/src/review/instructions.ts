/** What workers are asked to do (App. A of the paper, in our words), with drawn examples: no real face. */

import { EDITOR_KEYS } from "../editor/workbench";
import { element } from "../shared/dom";
import { icon } from "../shared/icons";

const SVG = "http://www.w3.org/2000/svg";
const KEYS: readonly (readonly [string, string])[] = [
  ["D · →", "Save, next image"],
  ["A · ←", "Image before"],
  ["Enter", "Go on after a message"],
  ["?", "This help"],
  ...EDITOR_KEYS,
];

/** The instructions, for a first visit and for the help. */
export function instructions(lives: number): HTMLElement {
  return element(
    "div",
    { class: "instructions" },
    element(
      "p",
      { class: "lead" },
      "Boxes hide faces. A computer has drawn some; please make them right: every face covered, nothing else.",
    ),
    element(
      "div",
      { class: "examples" },
      example("good", "Forehead to chin, cheek to cheek", person(60, 44, 1), frame(42, 21, 36, 46)),
      example(
        "good",
        "One box may cover two close faces",
        person(44, 46, 0.9),
        person(76, 46, 0.9),
        frame(26, 24, 68, 42),
      ),
      example("good", "Turned or half hidden faces too", profile(60, 46), frame(43, 22, 33, 46)),
      example("good", "No face, no box", scenery()),
      example("bad", "Too tight: the chin shows", person(60, 44, 1), frame(44, 24, 32, 27)),
      example("bad", "Too large: hides what is no face", person(60, 44, 1), frame(12, 6, 96, 80)),
      example("bad", "A face is missing", person(36, 48, 0.8), person(84, 48, 0.8), frame(21, 28, 30, 38)),
      example("bad", "Animals need no box", cat(60, 50), frame(36, 26, 48, 46)),
    ),
    element(
      "ul",
      { class: "rules" },
      element("li", {}, "Draw: drag over a face. Move: drag a box. Resize: drag its corners or sides. Then go on."),
      element("li", {}, "Delete boxes that are on no face. Faces too small to recognise anyone may be left out."),
      element("li", {}, "Cover nudity and the like with a box labelled NSFW."),
      element(
        "li",
        {},
        `Some images are checks. A wrong answer on one costs a life and shows the right boxes; without lives ` +
          `(you have ${lives}) the task starts again at its first image.`,
      ),
      element(
        "li",
        {},
        "Everything is saved as you go. You may go back and change an answer until you hand the task in.",
      ),
    ),
    element(
      "details",
      { class: "keys" },
      element("summary", {}, "Keyboard"),
      element(
        "dl",
        {},
        ...KEYS.flatMap(([keys, what]) => [element("dt", {}, element("kbd", {}, keys)), element("dd", {}, what)]),
      ),
    ),
  );
}

function example(kind: "good" | "bad", caption: string, ...drawn: SVGElement[]): HTMLElement {
  const backdrop = shape("rect", { width: 120, height: 90, class: "sketch-back" });
  const picture = shape("svg", { viewBox: "0 0 120 90", class: "sketch", "aria-hidden": "true" }, backdrop, ...drawn);
  const mark = kind === "good" ? icon("check") : icon("cross");
  const word = element("span", { class: "visually-hidden" }, kind === "good" ? "Right: " : "Wrong: ");
  const text = element("figcaption", {}, mark, element("span", {}, word, caption));
  const figure = element("figure", { class: `example example-${kind}` }, text);
  figure.prepend(picture);
  return figure;
}

function person(x: number, y: number, size: number): SVGElement {
  return shape(
    "g",
    { transform: `translate(${x} ${y}) scale(${size})` },
    shape("path", { d: "M-30 62V48c2-20 14-25 30-25s28 5 30 25v14Z", class: "sketch-clothes" }),
    shape("path", { d: "M-7 16h14v10a7 7 0 0 1-14 0Z", class: "sketch-skin" }),
    shape("path", { d: "M-19-4c-2-20 8-25 19-25s21 5 19 25l-3 6h-32Z", class: "sketch-hair" }),
    shape("ellipse", { rx: 16, ry: 21, class: "sketch-skin" }),
    shape("path", { d: "M-16-6c6-3 12-8 15-14 4 7 10 12 17 13 1-14-6-19-16-19s-17 6-16 20Z", class: "sketch-hair" }),
    shape("path", { d: "M-9-1h5M4-1h5M0 1v6M-6 12c4 3 8 3 12 0", class: "sketch-line" }),
  );
}

function profile(x: number, y: number): SVGElement {
  return shape(
    "g",
    { transform: `translate(${x} ${y})` },
    shape("path", { d: "M-24 60V46c2-18 10-23 26-23s26 5 28 23v14Z", class: "sketch-clothes" }),
    shape("path", { d: "M-4 14h14v12a7 7 0 0 1-14 0Z", class: "sketch-skin" }),
    shape("path", {
      d: "M12-16c2 8 2 24-2 31-4 8-17 8-21 3-2-3-1-6-2-9l-4-3 4-8c-1-10 2-19 10-20s13 1 15 6Z",
      class: "sketch-skin",
    }),
    shape("path", { d: "M-11-12c6 0 11-2 14-5 0 8 3 16 8 20 12-3 12-32-8-33-12 0-17 9-14 18Z", class: "sketch-hair" }),
    shape("path", { d: "M-10-3h4M-11 11c3 1 5 1 7 0", class: "sketch-line" }),
  );
}

function cat(x: number, y: number): SVGElement {
  return shape(
    "g",
    { transform: `translate(${x} ${y})` },
    shape("path", { d: "M-26 56V42c0-16 10-22 26-22s26 6 26 22v14Z", class: "sketch-fur" }),
    shape("path", { d: "M-20-2V-24l12 9h16l12-9V-2c0 14-9 20-20 20S-20 12-20-2Z", class: "sketch-fur" }),
    shape("path", {
      d: "M-10-3v4M10-3v4M-3 6h6l-3 4ZM-14 9l-14-3M-14 12l-13 3M14 9l14-3M14 12l13 3",
      class: "sketch-line",
    }),
  );
}

function scenery(): SVGElement {
  return shape(
    "g",
    {},
    shape("circle", { cx: 92, cy: 24, r: 9, class: "sketch-sun" }),
    shape("path", { d: "M0 72 34 34l22 24 16-14 48 34v12H0Z", class: "sketch-hill" }),
  );
}

function frame(x: number, y: number, width: number, height: number): SVGElement {
  const sides = { x, y, width, height };
  return shape(
    "g",
    {},
    shape("rect", { ...sides, class: "sketch-rim" }),
    shape("rect", { ...sides, class: "sketch-frame" }),
  );
}

function shape(tag: string, attributes: Record<string, string | number>, ...children: SVGElement[]): SVGElement {
  const made = document.createElementNS(SVG, tag) as SVGElement;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}
