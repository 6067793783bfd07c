/** Pictures fetched ahead and held while they are near. */

export class Pictures<Key> {
  #held = new Map<Key, Promise<ImageBitmap>>();

  constructor(private readonly load: (key: Key) => Promise<ImageBitmap>) {}

  /** The picture; fetched again if it failed before. */
  get(key: Key): Promise<ImageBitmap> {
    const found = this.#held.get(key);
    if (found) return found;
    const loading = this.load(key);
    this.#held.set(key, loading);
    loading.catch(() => this.#held.get(key) === loading && this.#held.delete(key));
    return loading;
  }

  /** Hold these, fetching what is not there, and let the others go. */
  keepOnly(keys: readonly Key[]): void {
    for (const [key, loading] of this.#held) {
      if (keys.includes(key)) continue;
      this.#held.delete(key);
      loading.then((picture) => picture.close()).catch(() => {});
    }
    for (const key of keys) this.get(key).catch(() => {});
  }
}
