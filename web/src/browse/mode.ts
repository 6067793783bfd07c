/** Whether faces are hidden, said wherever images are shown. */

import { element } from "../shared/dom";
import { icon } from "../shared/icons";

/** The badge. */
export function modeBadge(originals: boolean): HTMLElement {
  return originals
    ? element("span", { class: "mode mode-originals" }, icon("eye"), "Faces are shown")
    : element("span", { class: "mode" }, icon("eyeOff"), "Faces are hidden");
}
