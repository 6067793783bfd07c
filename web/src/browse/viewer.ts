/** One image, large, with its boxes. */

import { askImage as askPicture, reasonOf } from "../shared/api";
import { element } from "../shared/dom";
import { type IconName, icon } from "../shared/icons";
import { className } from "./filters";
import { explain } from "./grid";
import { modeBadge } from "./mode";
import { askImage, type Box, type Dataset, type Image } from "./server";
import { counted, number, score } from "./texts";

const SVG = "http://www.w3.org/2000/svg";
const MOST_LISTED = 500;
/** A box that is narrower on the screen tells its score only when it is chosen. */
const LABELLED_PX = 28;

export interface Viewer {
  readonly view: HTMLDialogElement;
  /** Show an image: its number, its place among all that are found, and how many there are. */
  show(row: number, place: number, total: number): void;
  close(): void;
}

export interface ViewerEvents {
  /** Another image is wanted: -1 the one before, 1 the next. */
  onstep(direction: -1 | 1): void;
  onclose(): void;
}

/** The dialog; hidden until an image is shown. */
export function createViewer(dataset: Dataset, events: ViewerEvents): Viewer {
  let asked = 0;
  let shown = -1;
  const title = element("h2", { class: "viewer-title", tabindex: -1 });
  const where = element("p", { class: "viewer-where", "aria-live": "polite" });
  const before = button("left", "Image before (←)", () => events.onstep(-1));
  const next = button("right", "Next image (→)", () => events.onstep(1));
  const boxes = toggle("box", "Boxes", "b", true, (isOn) => stage.classList.toggle("stage-bare", !isOn));
  const candidates = toggle("eye", "Possible faces", "c", false, (isOn) => stage.classList.toggle("stage-all", isOn));
  const stage = element("div", { class: "stage" });
  const side = element("div", { class: "side" });
  const view = element(
    "dialog",
    {
      class: "viewer",
      "aria-label": "Image",
      onclose: () => events.onclose(),
      onkeydown: (event) => onkey(event as KeyboardEvent),
    },
    element(
      "header",
      { class: "topbar viewer-bar" },
      element("div", { class: "viewer-steps" }, before, next),
      where,
      title,
      element(
        "div",
        { class: "viewer-tools" },
        modeBadge(dataset.originals),
        boxes,
        candidates,
        button("cross", "Close (Esc)", () => view.close()),
      ),
    ),
    element("div", { class: "viewer-body" }, stage, side),
  );
  new ResizeObserver(() => scaleTexts(stage)).observe(stage);

  function onkey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") before.click();
    else if (event.key === "ArrowRight") next.click();
    else if (event.key === "b") boxes.click();
    else if (event.key === "c") candidates.click();
    else return;
    event.preventDefault();
  }

  function choose(place: number): void {
    side.querySelectorAll<HTMLElement>(".faces li")[place]?.focus();
  }

  async function load(row: number): Promise<void> {
    const turn = ++asked;
    shown = row;
    stage.setAttribute("aria-busy", "true");
    try {
      const image = await askImage(row);
      if (turn !== asked) return;
      title.textContent = image.image_id;
      title.title = image.image_id;
      side.replaceChildren(...sideOf(image, stage));
      candidates.hidden = image.candidates.length === 0;
      const picture = await askPicture(image.url).catch(() => null);
      if (turn !== asked) return picture?.close();
      if (picture) stage.replaceChildren(drawing(image, picture, choose));
      else await explain(stage, image.url, () => {});
      scaleTexts(stage);
    } catch (error) {
      if (turn === asked) stage.replaceChildren(element("p", { class: "placeholder" }, reasonOf(error)));
    } finally {
      if (turn === asked) stage.removeAttribute("aria-busy");
    }
  }

  return {
    view,
    show(row, place, total) {
      where.textContent = `${number(place + 1)} of ${number(total)}`;
      before.disabled = place === 0;
      next.disabled = place + 1 >= total;
      if (!view.open) {
        stage.replaceChildren();
        side.replaceChildren();
        title.textContent = "";
        view.showModal();
        title.focus();
      } else if (row === shown) return;
      void load(row);
    },
    close() {
      if (view.open) view.close();
    },
  };
}

/** The picture and its boxes, in the image's own pixels. */
function drawing(image: Image, picture: ImageBitmap, choose: (place: number) => void): HTMLElement {
  const size = image.width ? image : picture;
  const canvas = element("canvas", { width: picture.width, height: picture.height });
  canvas.getContext("bitmaprenderer")?.transferFromImageBitmap(picture);
  const overlay = svg("svg", { viewBox: `0 0 ${size.width} ${size.height}`, preserveAspectRatio: "none" });
  overlay.setAttribute("role", "img");
  overlay.setAttribute("aria-label", `${counted(image.faces.length, "face")} in ${image.image_id}`);
  overlay.append(
    ...image.candidates.map((box) => shape(box, "mark mark-maybe", null, choose)),
    ...image.faces.map((box, place) => shape(box, "mark", place, choose)),
  );
  const frame = element("div", { class: "drawing" }, canvas);
  frame.style.setProperty("--ratio", String(size.width / size.height));
  frame.append(overlay);
  return frame;
}

function shape(box: Box, kind: string, place: number | null, choose: (place: number) => void): SVGElement {
  const sides = { x: box.x0, y: box.y0, width: box.x1 - box.x0, height: box.y1 - box.y0 };
  const made = svg("g", { class: kind });
  made.append(svg("rect", { class: "mark-rim", ...sides }), svg("rect", { class: "mark-line", ...sides }));
  if (place === null) return made;
  made.dataset.place = String(place);
  const text = svg("text", { x: box.x0, y: box.y0 });
  text.textContent = score(box.score);
  made.append(text);
  made.addEventListener("click", () => choose(place));
  return made;
}

/** Lines and texts keep their size on the screen, however large the image is. */
function scaleTexts(stage: HTMLElement): void {
  const overlay = stage.querySelector("svg");
  if (!overlay?.clientWidth) return;
  const unit = overlay.viewBox.baseVal.width / overlay.clientWidth;
  overlay.style.setProperty("--unit", `${unit}px`);
  for (const mark of overlay.querySelectorAll<SVGGElement>(".mark")) {
    const width = mark.querySelector("rect")?.width.baseVal.value ?? 0;
    mark.classList.toggle("mark-small", width / unit < LABELLED_PX);
  }
}

function sideOf(image: Image, stage: HTMLElement): HTMLElement[] {
  const facts: [string, string][] = [
    ["Class", className({ name: image.class_name, title: image.class_title })],
    ["Size", image.width ? `${number(image.width)} × ${number(image.height)} px` : "not known"],
    ["Status", image.status],
  ];
  if (image.class_title !== image.class_name) facts.splice(1, 0, ["Synset", image.class_name]);
  const list = element("dl", { class: "facts" });
  for (const [name, value] of facts) list.append(element("dt", {}, name), element("dd", {}, value));
  const heading = element("h3", {}, counted(image.faces.length, "face"));
  const items = image.faces.slice(0, MOST_LISTED).map((box, place) => listed(box, place, stage));
  const faces = element("ol", { class: "faces" }, ...items);
  const rest = image.faces.length - items.length;
  return [
    list,
    heading,
    faces,
    ...(rest > 0 ? [element("p", { class: "note" }, `and ${number(rest)} more`)] : []),
    ...(image.candidates.length
      ? [element("p", { class: "note" }, `${counted(image.candidates.length, "possible face")} below the threshold`)]
      : []),
  ];
}

function listed(box: Box, place: number, stage: HTMLElement): HTMLElement {
  const size = `${Math.round(box.x1 - box.x0)} × ${Math.round(box.y1 - box.y0)} px`;
  const item = element(
    "li",
    { tabindex: 0 },
    element("span", { class: "face-score" }, score(box.score)),
    element("span", { class: "face-label" }, box.label),
    element("span", { class: "face-size" }, size),
    element("span", { class: "face-source" }, box.source),
  );
  const mark = (isOn: boolean) => () =>
    stage.querySelector(`[data-place="${place}"]`)?.classList.toggle("mark-chosen", isOn);
  for (const name of ["mouseenter", "focus"]) item.addEventListener(name, mark(true));
  for (const name of ["mouseleave", "blur"]) item.addEventListener(name, mark(false));
  return item;
}

function button(name: IconName, label: string, onclick: () => void): HTMLButtonElement {
  const made = element("button", {
    type: "button",
    class: "button button-icon",
    title: label,
    "aria-label": label,
    onclick,
  });
  made.append(icon(name));
  return made;
}

function toggle(
  name: IconName,
  label: string,
  key: string,
  isOn: boolean,
  change: (isOn: boolean) => void,
): HTMLButtonElement {
  const made = element("button", {
    type: "button",
    class: "button",
    "aria-pressed": String(isOn),
    title: `${label} (${key})`,
  });
  made.append(icon(name), element("span", {}, label), element("kbd", { "aria-hidden": "true" }, key));
  made.addEventListener("click", () => {
    const now = made.getAttribute("aria-pressed") !== "true";
    made.setAttribute("aria-pressed", String(now));
    change(now);
  });
  return made;
}

function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | number>,
): SVGElementTagNameMap[K] {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}
