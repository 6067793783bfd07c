/** Icons of one line, drawn here; each is 24 by 24 and takes the colour of the text. */

const PATHS = {
  undo: "M8.5 5 4 9.500l4.5 4.500M4 9.500h10a5 5 0 0 1 0 10h-4",
  redo: "M15.5 5 20 9.5 15.5 14M20 9.500H10a5 5 0 0 0 0 10h4",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.500M17.5 17.5 19 19M19 5l-1.5 1.500M6.5 17.5 5 19",
  eye: "M2 12s3.6-6.5 10-6.500S22 12 22 12s-3.6 6.5-10 6.500S2 12 2 12ZM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z",
  eyeOff:
    "M4 4l16 16M9.9 5.700A9.6 9.6 0 0 1 12 5.500c6.4 0 10 6.5 10 6.500a16 16 0 0 1-3 3.700M6.5 7.500A15.6 15.6 0 0 0 2 12s3.6 6.5 10 6.500a9.8 9.8 0 0 0 4.4-1M9.9 9.900a3 3 0 0 0 4.2 4.2",
  box: "M5 5h14v14H5zM12 9v6M9 12h6",
  trash: "M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13M10 11v5M14 11v5",
  help: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM9.5 9.500a2.5 2.5 0 1 1 3.6 2.200c-.7.4-1.1.9-1.1 1.700v.4M12 17v.1",
  left: "m14 6-6 6 6 6",
  right: "m10 6 6 6-6 6",
  check: "m5 12.5 4.5 4.500L19 7.5",
  cross: "M6 6l12 12M18 6 6 18",
  heart: "M12 20s-7.5-4.6-7.5-10.200A4.3 4.3 0 0 1 12 7.300a4.3 4.3 0 0 1 7.5 2.500C19.5 15.4 12 20 12 20Z",
  cloud: "M7 18.500a4.5 4.5 0 0 1-.4-9A6 6 0 0 1 18 10.600a4 4 0 0 1-.6 7.900H7Z",
  pause: "M8.5 5v14M15.5 5v14",
  play: "M7 4.500v15l12-7.5-12-7.500Z",
  people:
    "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M16 4.500a3.5 3.5 0 0 1 0 6.300M18 14.500c2 .8 3.5 2.7 3.5 5.5",
} as const;

export type IconName = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

/** An icon; it says nothing to people who listen, so what holds it needs a name. */
export function icon(name: IconName, filled = false): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", filled ? "icon icon-filled" : "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
