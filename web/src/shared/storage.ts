/** What the browser keeps for us. Where it keeps nothing (private windows, frames, full disks), the page still works. */

const PREFIX = "unface.";

/** Keep a text under a name. */
export function keep(storage: Storage, name: string, text: string): void {
  try {
    storage.setItem(PREFIX + name, text);
  } catch {
    // full or forbidden: it is in memory still, and sent as soon as the server can be reached
  }
}

/** The text that was kept, or null. */
export function kept(storage: Storage, name: string): string | null {
  try {
    return storage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Keep it no longer. */
export function forget(storage: Storage, name: string): void {
  try {
    storage.removeItem(PREFIX + name);
  } catch {
    // as above
  }
}

/** The names that begin so. */
export function keptNames(storage: Storage, start: string): string[] {
  try {
    const names = Array.from({ length: storage.length }, (_, i) => storage.key(i) ?? "");
    return names.filter((name) => name.startsWith(PREFIX + start)).map((name) => name.slice(PREFIX.length));
  } catch {
    return [];
  }
}
