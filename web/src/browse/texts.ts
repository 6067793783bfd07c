/** How things read. */

const NUMBER = new Intl.NumberFormat("en");

/** A whole number with separators. */
export function number(value: number): string {
  return NUMBER.format(value);
}

/** A number and what it counts: "1 face", "2 faces". */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A score with two digits; a dash where there is none. */
export function score(value: number | null): string {
  return value === null ? "–" : value.toFixed(2);
}

/** The last part of a path. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
